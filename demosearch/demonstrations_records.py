"""The records in a demonstrations file: development pairs, scores, ranking and the search itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# Length of a file's ranking: the finalists that are listed and compared with the best one.
RANKING_LENGTH = 20
_METRIC = "in the search's metric; null if that is Spearman's correlation"


# What a search chooses, in the order in which the gain is taken apart.
Part = Literal["layer", "template", "demonstrations", "averaging", "postprocess"]


class StrictRecord(BaseModel):
    """A record that rejects unknown fields."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def score_of(record: BaseModel | dict[str, Any], prefix: str = "") -> float:
    """Return a record's score in the search's metric, which is Spearman x 100 by default.

    Args:
        record: has the fields `spearman` and `score`.
        prefix: of both field names, e.g. `baseline_`.
    """
    values = record if isinstance(record, dict) else record.model_dump()
    score = values.get(f"{prefix}score")
    return float(values[f"{prefix}spearman"] if score is None else score)


class SetRecord(StrictRecord):
    """A set of pairs."""

    name: str
    pairs: int = Field(ge=1)
    sha256: str = Field(description="of the sentences and scores, in order")


class DevRecord(SetRecord):
    """The development pairs and the scores on them; gains are in the search's metric."""

    sets: list[SetRecord] | None = Field(
        None, description="the sets, if there are several; scores are then means over the sets"
    )
    spearman: float = Field(description="Spearman x 100 of the chosen prompts")
    baseline_spearman: float = Field(
        description="Spearman x 100 of the baseline: no demonstration, last layer"
    )
    score: float | None = Field(None, description=_METRIC)
    baseline_score: float | None = Field(None, description=_METRIC)
    gain_ci95: tuple[float, float] = Field(
        description="95% interval of the gain by paired bootstrap; not corrected for the selection"
    )
    runner_up_ci95: tuple[float, float] | None = Field(
        None,
        description="95% interval of the difference between the best and the second; not corrected"
        " for the selection",
    )
    indistinguishable: list[str] = Field(
        default_factory=list,
        description="ids in the ranking than which the best is not significantly better",
    )

    @property
    def gain(self) -> float:
        """The gain of the chosen prompts over the baseline, in the search's metric."""
        return score_of(self) - score_of(self, "baseline_")


class EstimateRecord(StrictRecord):
    """The gain corrected for the selection among many candidates."""

    method: str
    gain: float = Field(description="in the search's metric, over the baseline")
    ci95: tuple[float, float]
    demonstrations_gain: float | None = Field(
        None, description="over the best prompt without demonstrations, chosen in the same way"
    )
    demonstrations_ci95: tuple[float, float] | None = None
    candidates: int = Field(ge=1, description="number of finalists in the repeated selection")


class Ranked(StrictRecord):
    """A finalist with its score on all development pairs, for people to read.

    The texts of several demonstrations are joined by ` | `.
    """

    id: str = Field(description="of the demonstration; ids of several are joined by +")
    sentence: str
    word: str
    source: str
    template: str | None = Field(None, description="name of the template")
    layer: int | None = Field(None, ge=0, description="the layer with the best score")
    tokens: int | None = Field(None, description="additional tokens compared with the plain prompt")
    spearman: float = Field(description="Spearman x 100")
    score: float | None = Field(None, description=_METRIC)


class StepRecord(StrictRecord):
    """What one thing that a search chooses adds to the score: a part of the gain.

    Each step is compared with the best that could be had without it, the last step before it that was
    taken; the first one with the baseline. The gains of the steps that were taken add up to the whole
    gain.
    """

    part: Part | None = Field(None, description="what was chosen; null in files of version 0.1")
    taken: bool = Field(
        True, description="false: left out, because the interval of its gain is not above 0"
    )
    template: str | None = Field(None, description="name of the first prompt's template")
    layer: int | None = Field(None, ge=0, description="the first prompt's layer")
    prompts: int = Field(
        ge=1, description="number of prompts after this step; a sentence takes one pass for each"
    )
    demonstrations: int = Field(ge=0, description="number of demonstrations in all prompts")
    postprocess: str | None = Field(None, description="the post-processing in words")
    centered: bool = Field(False, description="version 0.1: whether a mean embedding is subtracted")
    spearman: float = Field(description="Spearman x 100")
    score: float | None = Field(None, description=_METRIC)
    gain: float = Field(description="over the step before that was taken, or over the baseline")
    gain_ci95: tuple[float, float] = Field(description="its 95% interval by paired bootstrap")


class LayerRecord(StrictRecord):
    """Scores at one layer; None if all similarities are equal."""

    layer: int = Field(ge=0, description="index into transformers' hidden_states")
    spearman: float | None = Field(description="Spearman x 100 of the chosen demonstration")
    baseline_spearman: float | None = Field(description="Spearman x 100 without demonstration")
    score: float | None = Field(None, description=_METRIC)
    baseline_score: float | None = Field(None, description=_METRIC)


class SearchRecord(StrictRecord):
    """How the demonstrations were searched."""

    strategy: str
    metric: str = Field("spearman", description="the metric of selection and gains")
    seed: int
    candidates: int
    candidates_sha256: str
    sentences_encoded: int = Field(description="sentences that were encoded")
    sentences_exhaustive: int = Field(
        description="sentences that scoring every candidate on all pairs would have encoded"
    )
    seconds: float = Field(description="encoding time, summed over all starts")
