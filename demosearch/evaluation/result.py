"""The contents of `result.json`: the system, the tasks, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from demosearch._common.files import atomic_write, read_json, write_json
from demosearch.errors import UserError, first_error
from demosearch.metrics.correlation import spearman
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.postprocess import PostprocessRecord
from demosearch.prompt import PromptRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray


# The maximum number of templates in a label.
MAX_TEMPLATES = 3
_ROUNDING = 0.01


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SystemRecord(_Strict):
    """The evaluated system."""

    model: ModelRecord
    prompts: list[PromptRecord]
    adapter: AdapterRecord | None = Field(None, description="the LoRA adapter, if any")
    method: str = Field("prompt", description="how states become an embedding")
    template: str | None = Field(None, description="prompt of a bidirectional model")
    postprocess: PostprocessRecord | None = Field(
        None, description="what is done to an embedding at the end, in similarity tasks only"
    )
    mean: str | None = Field(
        None, description="version 0.1: sha256 of the mean that is subtracted from each embedding"
    )

    @property
    def label(self) -> str:
        """The name of the system in tables."""
        if not self.prompts:
            wording = f" ({self.template})" if self.template else ""
            return f"{self.model.name}, {self.method}{wording}"
        names = list(dict.fromkeys(prompt.template for prompt in self.prompts))
        if len(names) > MAX_TEMPLATES:
            names = [f"{names[0]} and {len(names) - 1} more"]
        words = [
            ", ".join(demonstration.word for demonstration in prompt.demonstrations)
            for prompt in self.prompts
        ]
        shown = " | ".join(word for word in words if word)
        layers = sorted({prompt.layer for prompt in self.prompts})
        parts = [
            self.model.name,
            " + ".join(names) + (f" ({shown})" if shown else ""),
            f"layer {', '.join(map(str, layers))}",
        ]
        if self.postprocess:
            parts.append(self.postprocess.label)
        elif self.mean:
            parts.append("centered")
        if self.adapter:
            parts.append(f"adapter {Path(self.adapter.source).name}")
        return ", ".join(parts)


class TaskResult(_Strict):
    """The score of one task."""

    metric: str = Field(description="spearman or accuracy")
    score: float | None = Field(
        None, description="x 100; null if all similarities or all gold scores are equal"
    )
    pairs: int | None = Field(None, description="scored pairs of an STS task")
    examples: int | None = Field(None, description="scored examples of a transfer task")
    classifier: str | None = Field(None, description="of a transfer task")
    sha256: str = Field(description="of all sentences and scores or labels")
    subsets: dict[str, float | None] = Field(description="score of each subset, x 100")
    other: dict[str, float | None] = Field(description="other measures, x 100")

    @model_serializer(mode="wrap")
    def _with_score(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep a score that is null when empty fields are left out."""
        fields: dict[str, Any] = serialize(self)
        return {"metric": self.metric, "score": self.score} | fields


class Result(_Strict):
    """The scores of one system."""

    system: SystemRecord
    tasks: dict[str, TaskResult]
    average: dict[str, float] = Field(
        description="by group (sts, transfer), if all its tasks have a score"
    )
    missing: list[str] = Field(description="requested tasks without data")
    overlaps: list[str] = Field(
        description="tasks that contain dev pairs or demonstrations, and how many"
    )
    sentences_encoded: int = Field(description="without those that were in the cache")
    seconds: float
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Details:
    """The values that a task's score is computed from, for comparing systems example by example.

    Attributes:
        values: similarities of the pairs, or whether each example was classified correctly.
        gold: gold scores of the pairs; empty for a transfer task.
    """

    values: NDArray[np.float32]
    gold: NDArray[np.float32]


def _belong(result: TaskResult, details: Details) -> bool:
    """Whether details belong to a score: the two files are not written in one transaction."""
    if len(details.values) != (result.pairs or result.examples):
        return False
    if not len(details.gold):
        score = 100 * float(details.values.mean())
    else:
        score = spearman(details.values, details.gold.tolist())
    if result.score is None:
        return bool(np.isnan(score))
    return abs(score - result.score) < _ROUNDING


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of one system with their details.

    Attributes:
        result: the scores.
        details: by task.
    """

    result: Result
    details: dict[str, Details]

    def write(self, path: str | Path) -> None:
        """Write `result.json` and, for `compare`, the details to an `.npz` file beside it."""
        path = Path(path)
        arrays = {
            f"{name}/{part}": getattr(details, part)
            for name, details in self.details.items()
            for part in Details.__slots__
        }
        with atomic_write(path.with_suffix(".npz"), "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        write_json(path, self.result.model_dump(mode="json", exclude_none=True))

    @classmethod
    def read(cls, path: str | Path) -> Evaluation:
        """Read what `write` wrote; if the `.npz` file is missing, there are no details.

        Raises:
            UserError: the file cannot be read or is not a result, or the details belong to another one.
        """
        path = Path(path)
        try:
            result = Result.model_validate(read_json(path, "result"))
        except ValidationError as error:
            raise UserError(first_error(error, f"result {path}: ", noun="field")) from error
        details_path = path.with_suffix(".npz")
        if not details_path.is_file():
            return cls(result, {})
        try:
            with details_path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                details = {
                    name: Details(*(arrays[f"{name}/{part}"] for part in Details.__slots__))
                    for name in result.tasks
                }
            if not all(_belong(result.tasks[name], values) for name, values in details.items()):
                raise ValueError("scores and details differ")
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise UserError(
                f"{details_path} does not belong to {path}; run the evaluation again"
            ) from error
        return cls(result, details)
