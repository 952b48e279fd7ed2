"""Metrics: how well similarities agree with gold scores. The objective of a search is one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch.errors import UserError
from demosearch.metrics.correlation import (
    normal_scores_correlation,
    normal_scores_influences,
    pearson_correlation,
    pearson_influences,
    rank_correlation,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The entry point group under which packages register metrics.
ENTRY_POINTS = "demosearch.metrics"

# From similarities and gold scores, both (..., n), to scores (...); nan where there is no score.
Score = Callable[["NDArray[Any]", "NDArray[Any]"], "NDArray[np.float64]"]


@dataclass(frozen=True, slots=True)
class Metric:
    """How similarities are scored; a higher score is better.

    Attributes:
        name: name of the metric in settings and files.
        score: the reported score; it decides among the finalists.
        rung_score: decides which configurations go on from a rung to the next one.
        influences: how much each pair contributes to `rung_score`, (..., n), with mean 0; None if that is
            not known. Their variance gives the standard error of a difference between configurations.
    """

    name: str
    score: Score
    rung_score: Score
    influences: Score | None = None


# Normal scores and ranks lose the same on the recorded similarities (`benchmarks/race.py --layers auto`);
# the influence of a pair on the correlation of ranks would be as easy to compute.
SPEARMAN = Metric("spearman", rank_correlation, normal_scores_correlation, normal_scores_influences)
PEARSON = Metric("pearson", pearson_correlation, pearson_correlation, pearson_influences)
METRICS = {metric.name: metric for metric in (SPEARMAN, PEARSON)}


def find_metric(name: str) -> Metric:
    """Return a metric by name: `spearman`, `pearson`, or one that an installed package registers.

    A package registers a function under the entry point group `demosearch.metrics`. The function takes
    similarities and gold scores, two arrays of shape (n,), and returns one number, or nan where there is
    no score. A higher number is better. An infinite number counts as nan.

    Raises:
        UserError: no metric has this name, or it cannot be loaded.
    """
    if name in METRICS:
        return METRICS[name]
    registered = entry_points(group=ENTRY_POINTS)
    if name not in registered.names:
        known = ", ".join([*METRICS, *sorted(registered.names)])
        raise UserError(
            f"metric must be one of {known} but got '{name}'; packages register more under the entry"
            f" point group '{ENTRY_POINTS}'"
        )
    try:
        function = registered[name].load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"metric '{name}' cannot be loaded: {error}") from error
    return _metric_of(name, function)


def _metric_of(name: str, function: Callable[..., float]) -> Metric:
    """Return a metric that calls a function with each row of similarities."""

    def score(similarities: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
        rows, golds = np.broadcast_arrays(similarities, gold)
        pairs = rows.shape[-1]
        try:
            scores = [
                # Equal similarities rank nothing, as for the correlations.
                float(function(row, row_gold)) if np.ptp(row) else np.nan
                for row, row_gold in zip(
                    rows.reshape(-1, pairs), golds.reshape(-1, pairs), strict=True
                )
            ]
        except Exception as error:  # the function may raise anything
            raise UserError(f"metric '{name}' failed: {error}") from error
        values = np.array(scores).reshape(rows.shape[:-1])
        return np.where(np.isfinite(values), values, np.nan)

    return Metric(name, score, score)
