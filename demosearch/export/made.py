"""What is exported: what a search chose, or what a fine-tuning made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demosearch.demonstration import DemonstrationsFile, ModelRecord, first_error
from demosearch.errors import UserError
from demosearch.export.checks import only_prompt
from demosearch.files import read_json
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from demosearch.finetune.train import Training

TRAINING_FILE = "training.json"


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

    from pydantic import ValidationError

    from demosearch.finetune.train import Training

    try:
        training = Training.model_validate(read_json(path / TRAINING_FILE, "training"))
    except ValidationError as error:
        raise UserError(f"training {path / TRAINING_FILE}: {first_error(error)}") from None
    record = ModelRecord(
        name=training.model,
        source=training.model,
        revision=training.revision,
        precision=training.precision,
    )
    return Made(record, Prompt.of(training.trained_under), str(path), training)


def another_prompt(adapter: str | Path, prompts: list[Prompt], layers: int) -> str | None:
    """Return a warning if an adapter of ours was trained under another prompt than it is used with.

    Args:
        adapter: its folder, or hub id, of which nothing is known.
        prompts: that it is used with.
        layers: how many the model has.
    """
    file = Path(adapter) / TRAINING_FILE
    if not file.is_file():
        return None
    trained = json.loads(file.read_text(encoding="utf-8"))
    under = (trained.get("prompt"), trained.get("layer") or layers)
    if all((prompt.render(""), prompt.layer or layers) == under for prompt in prompts):
        return None
    return (
        f"{adapter} was trained under another prompt or at another layer; see its {TRAINING_FILE}"
    )
