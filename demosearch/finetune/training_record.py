"""The record of a training, written beside its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demosearch._common.files import read_json
from demosearch.errors import UserError, first_error
from demosearch.finetune.settings import FinetuneSettings
from demosearch.prompt import Prompt, PromptRecord

TRAINING_FILE = "training.json"


class Step(BaseModel):
    """One point of the learning curve."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    step: int
    loss: float | None = Field(description="mean over the rows of the step")
    dev: float | None = Field(description="Spearman x 100, where it was evaluated")


class Training(BaseModel):
    """The contents of `training.json`: settings, learning curve and scores of a fine-tuning."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str
    revision: str = Field(description="commit or content hash of the weights; empty if unknown")
    precision: str
    prompt: str = Field(description="the prompt of an empty text")
    layer: int | None = Field(description="index into hidden_states; null is the last")
    trained_under: PromptRecord = Field(description="the whole prompt, with its layer as a number")
    settings: FinetuneSettings
    rows: int
    rows_sha256: str
    dev: str | None = Field(
        description="name of the development pairs, on which the best step was chosen"
    )
    dev_sha256: str | None
    columns: int = Field(
        description="texts per row: 3 with hard negatives, 2 without, 1 if a text is its own positive with a different dropout mask"
    )
    steps: int
    best_step: int | None = Field(
        description="step of the adapter that was kept; null: the last one"
    )
    curve: list[Step]
    dev_before: float | None = Field(description="Spearman x 100 before training")
    dev_after: float | None = Field(description="Spearman x 100 of the adapter that was kept")
    trained_parameters: int
    seconds: float = Field(description="since the training was last started or resumed")
    versions: dict[str, str]

    @property
    def is_worse(self) -> bool:
        """Whether the adapter scores lower on the dev pairs than the model without it."""
        before, after = self.dev_before, self.dev_after
        return before is not None and after is not None and after < before

    @classmethod
    def read(cls, folder: Path) -> Training:
        """Read the record beside an adapter.

        Raises:
            UserError: the file cannot be read, or has another format.
        """
        path = folder / TRAINING_FILE
        try:
            return cls.model_validate(read_json(path, "training"))
        except ValidationError as error:
            raise UserError(f"training {path}: {first_error(error)}") from None


def prompt_mismatch(adapter: str | Path, prompts: Sequence[Prompt], layers: int) -> str | None:
    """Return a warning if an adapter was trained with a different prompt or layer than it is used with.

    Args:
        adapter: its folder; nothing is known about an adapter on the hub.
        prompts: the prompts that it is used with.
        layers: number of layers of the model.
    """
    file = Path(adapter) / TRAINING_FILE
    if not file.is_file():
        return None
    record = read_json(file, "training")
    if not isinstance(record, dict):
        raise UserError(f"training {file} must be a JSON object but got {type(record).__name__}")
    trained_with = (record.get("prompt"), record.get("layer") or layers)
    if all((prompt.render(""), prompt.layer or layers) == trained_with for prompt in prompts):
        return None
    return f"{adapter} was trained with a different prompt or at a different layer; see its {TRAINING_FILE}"
