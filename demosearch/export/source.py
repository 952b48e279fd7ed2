"""The source of an export: the result of a search, or of a fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export.checks import only_prompt
from demosearch.finetune.training_record import TRAINING_FILE, Training
from demosearch.known_demonstrations import KnownDemonstrations, is_known, known_demonstrations
from demosearch.models.known import Precision, resolve
from demosearch.models.records import ModelRecord
from demosearch.models.source import read_config
from demosearch.postprocess import Postprocess
from demosearch.prompt import Prompt


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A prompt for a model, and its origin.

    Attributes:
        model: the weights.
        prompt: the prompt; its layer is a number.
        adapter: folder or hub id of a LoRA adapter.
        origin: the demonstrations file, the record of a training, or known demonstrations.
        postprocess: what is done to an embedding at the end; None if nothing is.
    """

    model: ModelRecord
    prompt: Prompt
    adapter: str | None
    origin: DemonstrationsFile | Training | KnownDemonstrations
    postprocess: Postprocess | None = None


def read_source(path: str | Path, model: str | None = None) -> ExportSource:
    """Read a `demonstrations.json`, the folder of an adapter that `finetune` wrote, or known demonstrations.

    Args:
        path: the file or folder; or `paper` or `best`, as in `Embedder.load`.
        model: known name, hub id or folder; only known demonstrations are chosen by it.

    Raises:
        UserError: it is none of them, or has several prompts.
    """
    if isinstance(path, str) and is_known(path):
        return _known_source(known_demonstrations(path, model), model)
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


def _known_source(known: KnownDemonstrations, model: str | None) -> ExportSource:
    """Return known demonstrations for a model; its weights are exported in float32 unless told otherwise."""
    source = resolve(model or known.model)
    config, revision = read_config(source)
    record = ModelRecord(
        name=source.name,
        source=source.source,
        revision=revision,
        precision=Precision.FP32.value,
    )
    layer = known.prompt.layer
    prompt = replace(known.prompt, layer=config.num_hidden_layers if layer is None else layer)
    return ExportSource(record, prompt, None, known)
