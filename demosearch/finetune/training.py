"""What is said of a training beside its adapter, and what that adapter is good for."""

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

    model_config = ConfigDict(extra="forbid")

    step: int
    loss: float | None = Field(description="mean over the step's rows")
    dev: float | None = Field(description="Spearman x 100, where it was measured")


class Training(BaseModel):
    """What a fine-tuning did: the contents of `training.json` beside the adapter."""

    model_config = ConfigDict(extra="forbid")

    model: str
    revision: str = Field(description="commit or content hash of the weights; empty if unknown")
    precision: str
    prompt: str = Field(description="the prompt of an empty text")
    layer: int | None = Field(description="index into hidden_states; null is the last")
    trained_under: PromptRecord = Field(description="the whole prompt, its layer counted out")
    settings: FinetuneSettings
    rows: int
    rows_sha256: str
    dev: str | None = Field(description="name of the pairs that chose among the steps")
    dev_sha256: str | None
    columns: int = Field(description="texts a row: 2 without hard negatives, 1 for dropout twins")
    steps: int
    best_step: int | None = Field(description="whose adapter was kept; null: the last")
    curve: list[Step]
    dev_before: float | None = Field(description="Spearman x 100 before training")
    dev_after: float | None = Field(description="Spearman x 100 of the adapter that was kept")
    trained_parameters: int
    seconds: float = Field(description="of the last sitting")
    versions: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Training:
        """Read what lies beside an adapter.

        Raises:
            UserError: it cannot be read, or is something else.
        """
        path = folder / TRAINING_FILE
        try:
            return cls.model_validate(read_json(path, "training"))
        except ValidationError as error:
            raise UserError(f"training {path}: {first_error(error)}") from None


def another_prompt(adapter: str | Path, prompts: Sequence[Prompt], layers: int) -> str | None:
    """Return a warning if an adapter of ours was trained under another prompt than it is used with.

    Args:
        adapter: its folder, or hub id, of which nothing is known.
        prompts: that it is used with.
        layers: how many the model has.
    """
    file = Path(adapter) / TRAINING_FILE
    if not file.is_file():
        return None
    trained = read_json(file, "training")
    if not isinstance(trained, dict):
        raise UserError(f"training {file}: an object is needed, not {type(trained).__name__}")
    under = (trained.get("prompt"), trained.get("layer") or layers)
    if all((prompt.render(""), prompt.layer or layers) == under for prompt in prompts):
        return None
    return (
        f"{adapter} was trained under another prompt or at another layer; see its {TRAINING_FILE}"
    )
