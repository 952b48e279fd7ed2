"""What is exported: what a search chose, or what a fine-tuning made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export.checks import only_prompt
from demosearch.finetune.training import TRAINING_FILE, Training
from demosearch.models.records import ModelRecord
from demosearch.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Made:
    """A prompt for a model's weights, and where that is from.

    Attributes:
        model: the weights.
        prompt: under which they embed; its layer is a number.
        adapter: a LoRA for them, a folder or hub id.
        origin: a search's result, or a training's.
    """

    model: ModelRecord
    prompt: Prompt
    adapter: str | None
    origin: DemonstrationsFile | Training


def read_made(path: str | Path) -> Made:
    """Read a `demonstrations.json`, or the folder of an adapter that `finetune` wrote.

    Raises:
        UserError: it is neither, or its prompts cannot be expressed as one.
    """
    path = Path(path)
    if not path.is_dir():
        file = DemonstrationsFile.read(path)
        adapter = file.adapter.source if file.adapter else None
        return Made(file.model, only_prompt(file), adapter, file)
    if not (path / TRAINING_FILE).is_file():
        raise UserError(
            f"{path} is a folder without {TRAINING_FILE}: give demonstrations.json, or what finetune"
            " wrote"
        )
    training = Training.read(path)
    record = ModelRecord(
        name=training.model,
        source=training.model,
        revision=training.revision,
        precision=training.precision,
    )
    return Made(record, Prompt.of(training.trained_under), str(path), training)
