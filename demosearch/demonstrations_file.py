"""The demonstrations file: the result of a search.

The file is self-contained. It holds the model, the exact text of the prompts and the scores, so that the
embeddings can be computed again without the templates of this package.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, ValidationError, model_validator
from safetensors import SafetensorError

from demosearch._common.files import atomic_write, read_json, write_json
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_records import (
    RANKING_LENGTH,
    DevRecord,
    EstimateRecord,
    LayerRecord,
    PostprocessRecord,
    Ranked,
    SearchRecord,
    SetRecord,
    StepRecord,
    StrictRecord,
    score_of,
)
from demosearch.errors import UserError, first_error
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.prompt import PromptRecord

# The records stay importable from this module.
__all__ = [
    "FORMAT",
    "RANKING_LENGTH",
    "DemonstrationsFile",
    "DevRecord",
    "EstimateRecord",
    "LayerRecord",
    "PostprocessRecord",
    "Ranked",
    "SearchRecord",
    "SetRecord",
    "StepRecord",
    "arrays_path",
    "mean_sha256",
    "score_of",
]

FORMAT: Literal["demosearch.demonstrations/1"] = "demosearch.demonstrations/1"
_MEAN = "mean"


class DemonstrationsFile(StrictRecord):
    """The best demonstrations for one model: the contents of `demonstrations.json`.

    Attributes:
        mean: subtracted from every embedding, float32 (width,); None without postprocessing.
    """

    format: Literal["demosearch.demonstrations/1"] = FORMAT
    model: ModelRecord
    prompts: Annotated[list[PromptRecord], Field(min_length=1)]
    adapter: AdapterRecord | None = Field(
        description="the LoRA that was on the model during the search"
    )
    postprocess: PostprocessRecord | None = Field(
        description="what is done to an embedding at the end"
    )
    demonstrations: list[Demonstration]
    dev: DevRecord
    estimate: EstimateRecord | None
    layer_curve: list[LayerRecord] | None = Field(
        None, description="scores by layer; null unless the layer was chosen as well"
    )
    steps: list[StepRecord] | None = Field(
        None, description="the gain of each step; null unless several demonstrations were chosen"
    )
    carried_over: list[Ranked] | None = Field(
        None, description="scores of other models' best demonstrations with this model"
    )
    ranking: list[Ranked]
    search: SearchRecord
    versions: dict[str, str]

    _mean: NDArray[np.float32] | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _without_removed_fields(cls, value: Any) -> Any:
        # Written by version 0.1, and no longer used.
        if isinstance(value, dict):
            return {key: field for key, field in value.items() if key != "pareto"}
        return value

    @property
    def mean(self) -> NDArray[np.float32] | None:
        """The mean that is subtracted from every embedding; None without postprocessing."""
        return self._mean

    def with_mean(self, mean: NDArray[np.float32], fitted_on: str, texts: int) -> Self:
        """Return a copy of the file with a mean that is subtracted from every embedding."""
        record = PostprocessRecord(
            kind="center", fitted_on=fitted_on, texts=texts, sha256=mean_sha256(mean)
        )
        file = self.model_copy(update={"postprocess": record})
        file._mean = mean
        return file

    def write(self, path: str | Path) -> None:
        """Write the arrays, then the file, each atomically."""
        if self._mean is not None:
            with atomic_write(arrays_path(path), "wb") as file:
                file.write(safetensors.numpy.save({_MEAN: self._mean}))
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: str | Path) -> DemonstrationsFile:
        """Read and validate a demonstrations file.

        Raises:
            UserError: the file cannot be read, is not JSON, has another format, or has a wrong field.
        """
        value = read_json(path, "demonstrations file")
        version = value.get("format") if isinstance(value, dict) else None
        if version != FORMAT:
            raise UserError(
                f"demonstrations file {path}: format must be '{FORMAT}' but got {version!r}"
            )
        try:
            file = cls.model_validate(value)
        except ValidationError as error:
            raise UserError(
                first_error(error, f"demonstrations file {path}: ", noun="field")
            ) from error
        if file.postprocess is not None:
            file._mean = _read_mean(arrays_path(path), file.postprocess)
        return file


def arrays_path(path: str | Path) -> Path:
    """Return the path of a demonstrations file's arrays."""
    return Path(path).with_suffix(".safetensors")


def _read_mean(path: Path, record: PostprocessRecord) -> NDArray[np.float32]:
    try:
        mean: NDArray[np.float32] = safetensors.numpy.load(path.read_bytes())[_MEAN]
    except OSError as error:
        raise UserError(
            f"cannot read {path}, which must be beside the demonstrations file:"
            f" {error.strerror or error}"
        ) from error
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{path} does not contain a mean embedding: {error}") from error
    if mean_sha256(mean) != record.sha256:
        raise UserError(
            f"{path} belongs to a different demonstrations file; copy the two files together"
        )
    return mean


def mean_sha256(mean: NDArray[np.float32]) -> str:
    """Return the hex digest of a mean embedding, as float32."""
    return hashlib.sha256(np.ascontiguousarray(mean, dtype="<f4").tobytes()).hexdigest()
