"""The demonstrations file that a search exports.

The file is self-contained: it holds the model, the exact prompt text and the scores, so that the
embeddings it was chosen for can be computed again without this package's templates.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from safetensors import SafetensorError

from demosearch._common.files import atomic_write, read_json, write_json
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError, first_error
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.prompt import PromptRecord

FORMAT: Literal["demosearch.demonstrations/1"] = "demosearch.demonstrations/1"
# So many of what was scored on all pairs are in a file's ranking, and compared with the best.
RANKING_LENGTH = 20
_MEAN = "mean"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


_IN_THE_METRIC = "in the search's metric, where that is not Spearman's"


class SetRecord(_Strict):
    """Which pairs."""

    name: str
    pairs: int = Field(ge=1)
    sha256: str = Field(description="of the sentences and scores, in order")


class DevRecord(SetRecord):
    """The pairs that chose, and what they said; gains are in the search's metric."""

    sets: list[SetRecord] | None = Field(
        None, description="of several, each; scores are their mean then"
    )
    spearman: float = Field(description="Spearman x 100 of the chosen prompts")
    baseline_spearman: float = Field(
        description="Spearman x 100 without demonstration, at the last layer"
    )
    score: float | None = Field(None, description=_IN_THE_METRIC)
    baseline_score: float | None = Field(None, description=_IN_THE_METRIC)
    gain_ci95: tuple[float, float] = Field(
        description="95% interval of the gain by paired bootstrap; not adjusted for the choice"
    )
    runner_up_ci95: tuple[float, float] | None = Field(
        None, description="95% interval of what the best is ahead of the second; likewise"
    )
    indistinguishable: list[str] = Field(
        default_factory=list,
        description="ids in the ranking whose interval to the best reaches 0",
    )

    @property
    def gain(self) -> float:
        """What the chosen prompts gain, in the search's metric."""
        return score_of(self) - score_of(self, "baseline_")


def score_of(record: BaseModel | dict[str, Any], prefix: str = "") -> float:
    """Return a record's score in the search's metric: Spearman x 100 where no other one is given.

    Args:
        record: with `spearman` and `score`.
        prefix: of both names, such as `baseline_`.
    """
    values = record if isinstance(record, dict) else record.model_dump()
    score = values.get(f"{prefix}score")
    return float(values[f"{prefix}spearman"] if score is None else score)


class EstimateRecord(_Strict):
    """The gain corrected for the choice among many."""

    method: str
    gain: float = Field(description="in the search's metric")
    ci95: tuple[float, float]
    candidates: int = Field(ge=1, description="the choice was repeated among so many candidates")


class Ranked(_Strict):
    """A leading candidate with its score on all dev pairs, for people to read.

    Of several demonstrations the texts stand behind each other, with ` | ` between them.
    """

    id: str = Field(description="of the demonstration; several have + between them")
    sentence: str
    word: str
    source: str
    template: str | None = Field(None, description="name of the template")
    layer: int | None = Field(None, ge=0, description="the layer that scores best")
    tokens: int | None = Field(None, description="that the prompt has more than the plain one")
    spearman: float = Field(description="Spearman x 100")
    score: float | None = Field(None, description=_IN_THE_METRIC)


class StepRecord(_Strict):
    """What one more demonstration, or one more prompt, brought."""

    prompts: int = Field(ge=1, description="how many there are now; a sentence costs a pass each")
    demonstrations: int = Field(ge=0, description="how many all prompts have now")
    centered: bool = Field(False, description="whether a mean embedding is subtracted now")
    spearman: float = Field(description="Spearman x 100")
    score: float | None = Field(None, description=_IN_THE_METRIC)
    gain: float = Field(description="over the step before; the first: over the baseline")
    gain_ci95: tuple[float, float] = Field(description="its 95% interval by paired bootstrap")


class LayerRecord(_Strict):
    """Scores at one layer; None where all similarities are equal."""

    layer: int = Field(ge=0, description="index into transformers' hidden_states")
    spearman: float | None = Field(description="Spearman x 100 of the chosen demonstration")
    baseline_spearman: float | None = Field(description="the same without demonstration")
    score: float | None = Field(None, description=_IN_THE_METRIC)
    baseline_score: float | None = Field(None, description=_IN_THE_METRIC)


class SearchRecord(_Strict):
    """How the demonstrations were found."""

    strategy: str
    metric: str = Field("spearman", description="what decided, and what gains are counted in")
    seed: int
    candidates: int
    candidates_sha256: str
    sentences_encoded: int = Field(description="sentences that went through the model")
    sentences_exhaustive: int = Field(description="what scoring every candidate would have taken")
    seconds: float = Field(description="time spent encoding, over all sittings")


class PostprocessRecord(_Strict):
    """What is done to an embedding at the end: its arrays lie in a safetensors file beside."""

    kind: Literal["center"] = Field(description="center: a mean embedding is subtracted")
    fitted_on: str = Field(description="the unlabeled texts whose mean it is")
    texts: int = Field(ge=1, description="how many")
    sha256: str = Field(description="of the mean's bytes, float32")


class DemonstrationsFile(_Strict):
    """The best demonstrations for one model: the contents of `demonstrations.json`.

    Attributes:
        mean: what is subtracted from an embedding, float32 (width,); None without postprocessing.
    """

    format: Literal["demosearch.demonstrations/1"] = FORMAT
    model: ModelRecord
    prompts: Annotated[list[PromptRecord], Field(min_length=1)]
    adapter: AdapterRecord | None = Field(description="the LoRA the search had on the model")
    postprocess: PostprocessRecord | None = Field(
        description="what is done to an embedding at the end"
    )
    demonstrations: list[Demonstration]
    dev: DevRecord
    estimate: EstimateRecord | None
    layer_curve: list[LayerRecord] | None = Field(
        None, description="scores by layer, where the layer was chosen too"
    )
    steps: list[StepRecord] | None = Field(
        None, description="what each step brought, where more than one was looked for"
    )
    carried_over: list[Ranked] | None = Field(
        None, description="what other models' best demonstrations score with this one"
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
        """What is subtracted from an embedding."""
        return self._mean

    def with_mean(self, mean: NDArray[np.float32], fitted_on: str, texts: int) -> Self:
        """Return the file with a mean embedding that is subtracted."""
        record = PostprocessRecord(
            kind="center", fitted_on=fitted_on, texts=texts, sha256=mean_sha256(mean)
        )
        file = self.model_copy(update={"postprocess": record})
        file._mean = mean
        return file

    def write(self, path: str | Path) -> None:
        """Write the file atomically, and its arrays before it."""
        if self._mean is not None:
            with atomic_write(arrays_path(path), "wb") as file:
                file.write(safetensors.numpy.save({_MEAN: self._mean}))
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: str | Path) -> DemonstrationsFile:
        """Read and validate a demonstrations file.

        Raises:
            UserError: not readable, not JSON, another format version, or a wrong field (named).
        """
        value = read_json(path, "demonstrations file")
        found = value.get("format") if isinstance(value, dict) else None
        if found != FORMAT:
            raise UserError(
                f"demonstrations file {path}: format is {found!r}, this version reads '{FORMAT}'"
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


def standing(file: DemonstrationsFile) -> str | None:
    """Return in words how many of the others scored on all pairs may be as good as the best.

    None where that was not compared, or the result is more than the best of them.
    """
    if file.dev.runner_up_ci95 is None or len(file.prompts) > 1 or file.postprocess is not None:
        return None
    others, close = len(file.ranking) - 1, len(file.dev.indistinguishable)
    # An exhaustive search compares with the best of the others alone.
    those = f"{others} next best" if others == RANKING_LENGTH - 1 else f"{others} others"
    if not close:
        return f"ahead of each of the {those} scored on all pairs, beyond the 95% interval"
    return f"not to be told apart from {close} of the {those} scored on all pairs"


def doubt(file: DemonstrationsFile) -> str | None:
    """Return in words that what was chosen may be no better than no demonstration.

    None where the interval of the gain, corrected for the choice if that was possible, is above 0.
    """
    if file.dev.gain <= 0:
        return "nothing that was scored on all pairs is better than no demonstration"
    # What centering gains is not in the estimate.
    corrected = file.estimate if file.postprocess is None else None
    low, _ = corrected.ci95 if corrected else file.dev.gain_ci95
    if low <= 0:
        return "it may be no better than no demonstration: the interval of the gain reaches 0"
    return None


def arrays_path(path: str | Path) -> Path:
    """Return where a demonstrations file's arrays lie."""
    return Path(path).with_suffix(".safetensors")


def _read_mean(path: Path, record: PostprocessRecord) -> NDArray[np.float32]:
    try:
        mean: NDArray[np.float32] = safetensors.numpy.load(path.read_bytes())[_MEAN]
    except OSError as error:
        raise UserError(
            f"cannot read {path}, which belongs beside the demonstrations file:"
            f" {error.strerror or error}"
        ) from error
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{path} does not hold a mean embedding: {error}") from error
    if mean_sha256(mean) != record.sha256:
        raise UserError(f"{path} is another demonstrations file's")
    return mean


def mean_sha256(mean: NDArray[np.float32]) -> str:
    """Return the hex digest of a mean embedding, as float32."""
    return hashlib.sha256(np.ascontiguousarray(mean, dtype="<f4").tobytes()).hexdigest()
