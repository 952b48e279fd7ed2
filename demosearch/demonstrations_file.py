"""The demonstrations file: the result of a search.

The file is self-contained. It holds the model, the exact text of the prompts and the scores, so that the
embeddings can be computed again without the templates of this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from demosearch._common.files import read_json, write_json
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_records import (
    RANKING_LENGTH,
    DevRecord,
    EstimateRecord,
    LayerRecord,
    Ranked,
    SearchRecord,
    SetRecord,
    StepRecord,
    StrictRecord,
    score_of,
)
from demosearch.errors import UserError, first_error
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.postprocess import Postprocess, PostprocessRecord
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
    "score_of",
]

FORMAT: Literal["demosearch.demonstrations/1"] = "demosearch.demonstrations/1"


class DemonstrationsFile(StrictRecord):
    """The best demonstrations for one model: the contents of `demonstrations.json`.

    Attributes:
        postprocessing: what is done to an embedding at the end, with its arrays; None if nothing is.
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
        None, description="the gain taken apart; null in files of earlier versions"
    )
    carried_over: list[Ranked] | None = Field(
        None, description="scores of other models' best demonstrations with this model"
    )
    ranking: list[Ranked]
    search: SearchRecord
    versions: dict[str, str]

    _postprocessing: Postprocess | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _as_now(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        # Written by version 0.1, and no longer used.
        fields = {key: field for key, field in value.items() if key != "pareto"}
        # Version 0.1 wrote NaN where the gain could not be corrected for the selection.
        estimate = fields.get("estimate")
        if isinstance(estimate, dict) and "gain" in estimate and estimate["gain"] is None:
            fields["estimate"] = None
        return fields

    @property
    def postprocessing(self) -> Postprocess | None:
        """What is done to an embedding at the end, with its arrays; None if nothing is."""
        return self._postprocessing

    @property
    def taken_steps(self) -> list[StepRecord]:
        """The steps whose gains add up to the whole gain."""
        return [step for step in self.steps or () if step.taken]

    def with_postprocess(self, postprocess: Postprocess | None) -> Self:
        """Return a copy of the file with another post-processing, or none."""
        record = postprocess.record if postprocess else None
        file = self.model_copy(update={"postprocess": record})
        file._postprocessing = postprocess
        return file

    def write(self, path: str | Path) -> None:
        """Write the arrays, then the file, each atomically."""
        if self._postprocessing is not None:
            self._postprocessing.write(arrays_path(path))
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
            file._postprocessing = Postprocess.read(arrays_path(path), file.postprocess)
        return file


def arrays_path(path: str | Path) -> Path:
    """Return the path of a demonstrations file's arrays."""
    return Path(path).with_suffix(".safetensors")
