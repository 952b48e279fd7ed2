"""The gain of chosen prompts over the baseline on pairs that were not used to choose them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demosearch._common.files import read_json
from demosearch.datasets.pairs import Pairs
from demosearch.demonstrations_records import Part
from demosearch.errors import UserError, first_error
from demosearch.metrics.metric import SPEARMAN, Metric
from demosearch.selection.objective import Objective
from demosearch.selection.pair_encoder import PairEncoder, SentenceEncoder
from demosearch.selection.steps import System


class GainStep(BaseModel):
    """What one step of the search adds on these pairs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    part: Part
    gain: float = Field(description="over the step before, in the search's metric")
    gain_ci95: tuple[float, float] = Field(description="95% interval by paired bootstrap")


class Gain(BaseModel):
    """Scores of the chosen prompts and of the baseline on the same pairs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    pairs: int
    sha256: str
    spearman: float = Field(description="Spearman x 100")
    baseline_spearman: float = Field(description="Spearman x 100 of the baseline")
    score: float | None = Field(
        None, description="in the search's metric, if it is not Spearman's correlation"
    )
    baseline_score: float | None = Field(
        None, description="of the baseline, in the search's metric"
    )
    gain: float = Field(description="in the search's metric")
    gain_ci95: tuple[float, float] = Field(description="95% interval by paired bootstrap")
    steps: list[GainStep] | None = Field(
        None, description="the gain taken apart, as in the demonstrations file"
    )


class _Evaluated(BaseModel):
    """The fields of a run's `evaluation.json` that are read again."""

    model_config = ConfigDict(extra="allow")

    test: Gain


def read_evaluation(path: Path) -> dict[str, Any]:
    """Return the contents of a run's `evaluation.json`.

    Raises:
        UserError: the file cannot be read or is not such a file.
    """
    contents = read_json(path, "evaluation")
    try:
        _Evaluated.model_validate(contents)
    except ValidationError as error:
        raise UserError(
            f"{first_error(error, f'evaluation {path}: ')}; delete the file and re-run the command to"
            " score the test pairs again"
        ) from None
    return dict(contents)


def gain_on(
    pairs: Pairs,
    encoder: SentenceEncoder,
    systems: Sequence[System],
    parts: Sequence[Part],
    seed: int = 0,
    metric: Metric = SPEARMAN,
) -> Gain:
    """Score the systems of a search's steps on pairs.

    Args:
        pairs: pairs that were not used to choose the prompts.
        encoder: the model.
        systems: the baseline, and the system after each step that was taken; the last one is the
            result.
        parts: what each step after the baseline chose.
        seed: random seed of the resampling.
        metric: the metric of the gain.

    Raises:
        UserError: the pairs have no score, because all similarities or all gold scores are equal.
    """
    objective = Objective(pairs, metric, seed)
    similarities = PairEncoder(encoder, objective).systems_similarities(systems)
    baseline, chosen = similarities[0], similarities[-1]
    score, baseline_score = (float(objective.score(rows)) for rows in (chosen, baseline))
    if not np.isfinite([objective.score(rows) for rows in similarities]).all():
        raise UserError(
            f"{pairs.name}: no {metric.name} of the similarities; are they, or the gold scores, all"
            " equal?"
        )
    is_other = metric != SPEARMAN
    return Gain(
        name=pairs.name,
        pairs=len(pairs),
        sha256=pairs.sha256,
        spearman=float(objective.spearman(chosen)),
        baseline_spearman=float(objective.spearman(baseline)),
        score=score if is_other else None,
        baseline_score=baseline_score if is_other else None,
        gain=round(score - baseline_score, 6),
        gain_ci95=objective.interval(chosen, baseline),
        steps=[
            GainStep(
                part=part,
                gain=round(float(objective.score(after) - objective.score(before)), 6),
                gain_ci95=objective.interval(after, before),
            )
            for part, (before, after) in zip(parts, pairwise(similarities), strict=True)
        ],
    )
