"""The source of an export: the result of a search, or of a fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export.checks import only_prompt
from demosearch.finetune.training_record import TRAINING_FILE, Training
from demosearch.models.records import ModelRecord
from demosearch.postprocess import Postprocess
from demosearch.prompt import Prompt


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A prompt for a model, and its origin.

    Attributes:
        model: the weights.
        prompt: the prompt; its layer is a number.
        adapter: folder or hub id of a LoRA adapter.
        origin: the demonstrations file, or the record of a training.
        postprocess: what is done to an embedding at the end; None if nothing is.
    """

    model: ModelRecord
    prompt: Prompt
    adapter: str | None
    origin: DemonstrationsFile | Training
    postprocess: Postprocess | None = None


def read_source(path: str | Path) -> ExportSource:
    """Read a `demonstrations.json`, or the folder of an adapter that `finetune` wrote.

    Raises:
        UserError: it is neither of them, or has several prompts.
    """
    path = Path(path)
    if not path.is_dir():
        file = DemonstrationsFile.read(path)
        adapter = file.adapter.source if file.adapter else None
        return ExportSource(file.model, only_prompt(file), adapter, file, file.postprocessing)
    if not (path / TRAINING_FILE).is_file():
        raise UserError(
            f"{path} must be a demonstrations file or a folder that finetune wrote but it has no"
            f" {TRAINING_FILE}"
        )
    training = Training.read(path)
    record = ModelRecord(
        name=training.model,
        source=training.model,
        revision=training.revision,
        precision=training.precision,
    )
    return ExportSource(record, Prompt.of(training.trained_under), str(path), training)
