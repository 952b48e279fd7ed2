"""What a search makes larger: how well similarities agree with the gold scores of dev pairs.

Spearman's correlation x 100 unless another metric is asked for; over several sets of pairs it is the mean
of the sets' scores, each over its whole set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError
from demosearch.metrics.statistics import (
    bootstrap_gains,
    interval,
    normal_scores_correlation,
    pearson_correlation,
    rank_correlation,
    split_gains,
)
from demosearch.selection.rungs import spread_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Packages add metrics of their own under this configuration point group.
ENTRY_POINTS = "demosearch.metrics"

# Of similarities and gold scores, both (..., n), the scores (...); nan where there is none.
Score = Callable[["NDArray[Any]", "NDArray[Any]"], "NDArray[np.float64]"]


@dataclass(frozen=True, slots=True)
class Metric:
    """How similarities are judged.

    Attributes:
        name: what files call it.
        score: what is reported, and decides on all pairs; more is better.
        standing: decides who goes on from a rung; on few pairs it may tell more than the score does.
    """

    name: str
    score: Score
    standing: Score


SPEARMAN = Metric("spearman", rank_correlation, normal_scores_correlation)
PEARSON = Metric("pearson", pearson_correlation, pearson_correlation)
METRICS = {metric.name: metric for metric in (SPEARMAN, PEARSON)}


def find_metric(name: str) -> Metric:
    """Return a metric by name: `spearman`, `pearson`, or one that an installed package adds.

    A package's is a function of two arrays, similarities and gold scores, both of shape (n,), that
    returns one number, nan where it has none; more is better.

    Raises:
        UserError: there is none of that name, or it cannot be loaded.
    """
    if name in METRICS:
        return METRICS[name]
    added = entry_points(group=ENTRY_POINTS)
    if name not in added.names:
        known = ", ".join([*METRICS, *sorted(added.names)])
        raise UserError(
            f"unknown metric '{name}'; known: {known}; others are configuration points '{ENTRY_POINTS}'"
        )
    try:
        function = added[name].load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"metric '{name}' cannot be loaded: {error}") from error
    return _of_function(name, function)


def _of_function(name: str, function: Callable[..., float]) -> Metric:
    """Return a metric that asks a function of one row of similarities for each row."""

    def score(similarities: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
        rows, golds = np.broadcast_arrays(similarities, gold)
        flat = zip(rows.reshape(-1, rows.shape[-1]), golds.reshape(-1, rows.shape[-1]), strict=True)
        try:
            found = [float(function(row, wanted)) for row, wanted in flat]
        except Exception as error:  # whatever somebody's function may raise
            raise UserError(f"metric '{name}' failed: {error}") from error
        return np.array(found).reshape(rows.shape[:-1])

    return Metric(name, score, score)


class Objective:
    """The gold scores of pairs, and a metric.

    Attributes:
        pairs: the pairs.
        metric: how similarities are judged.
        seed: of the resampling.
    """

    def __init__(self, pairs: Pairs, metric: Metric = SPEARMAN, seed: int = 0) -> None:
        self.pairs = pairs
        self.metric = metric
        self.seed = seed
        self._gold = np.asarray(pairs.scores)
        self._set_of = np.repeat(np.arange(len(pairs.set_sizes)), pairs.set_sizes)
        self._sets = [np.flatnonzero(self._set_of == one) for one in range(len(pairs.set_sizes))]

    def score(
        self, similarities: NDArray[np.float32], rows: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Return the score of similarities, shape (..., pairs), as (...); nan where there is none.

        Args:
            similarities: of all pairs, or of those that `rows` names.
            rows: indices of pairs.
        """
        return np.round(self._mean(self.metric.score, similarities, rows), 6)

    def standing(
        self, similarities: NDArray[np.float32], rows: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return what decides who goes on from a rung; as `score`."""
        return self._mean(self.metric.standing, similarities, rows)

    def spearman(self, similarities: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return Spearman's correlation x 100, whatever the metric; as `score`."""
        return np.round(self._mean(rank_correlation, similarities), 6)

    def can_judge(self, rows: NDArray[np.intp]) -> bool:
        """Whether some pairs have gold scores that differ, in every set."""
        return all(len(set(self._gold[part])) > 1 for part, _ in self._parts(rows))

    def order(self, baseline: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the order in which a race looks at the pairs; the sets take turns.

        Args:
            baseline: similarities of all pairs without demonstration.
        """
        orders = [
            part[spread_order(self._gold[part].tolist(), baseline[part], self.seed)]
            for part in self._sets
        ]
        turns = np.concatenate([np.arange(len(part)) for part in orders])
        return np.concatenate(orders)[np.argsort(turns, kind="stable")]

    def intervals(
        self, ours: NDArray[np.float32], others: Sequence[NDArray[np.float32]]
    ) -> list[tuple[float, float]]:
        """Return the 95% interval of what similarities are ahead of each of some others.

        By paired bootstrap over the pairs of each set. It says how much a gain depends on the pairs;
        it is not adjusted for having chosen the best of many.

        Args:
            ours: shape (pairs,).
            others: each of shape (pairs,).
        """
        gains = [
            bootstrap_gains(
                ours[part],
                [each[part] for each in others],
                self._gold[part],
                self.metric.score,
                self.seed + number,
            )
            for number, part in enumerate(self._sets)
        ]
        return [interval(each) for each in np.mean(gains, axis=0)]

    def interval(
        self, ours: NDArray[np.float32], other: NDArray[np.float32]
    ) -> tuple[float, float]:
        """Return the 95% interval of what similarities are ahead of others; as `intervals`."""
        return self.intervals(ours, [other])[0]

    def split_estimate(
        self,
        choose: Callable[[NDArray[np.intp]], NDArray[np.float32]],
        baseline: NDArray[np.float32],
    ) -> tuple[float, tuple[float, float]]:
        """Return the gain one may expect on other pairs, and its 95% range over splits.

        The best of many on the pairs that also score it flatters. Here the choice is made on a random
        half of each set and its gain is taken on the other half, again and again.

        Args:
            choose: makes the choice on the pairs of some indices, and returns the similarities of all
                pairs under what it chose, shape (pairs,).
            baseline: similarities without demonstration, shape (pairs,).
        """

        def gain(rows: NDArray[np.intp], check: NDArray[np.intp]) -> float:
            if not self.can_judge(rows) or not self.can_judge(check):
                # Where few pairs differ in score, a half may rank nothing.
                return np.nan
            chosen = choose(rows)
            ours, plain = (self.score(each[check], check) for each in (chosen, baseline))
            return float(ours - plain)

        gains = split_gains(gain, self._sets, self.seed)
        return round(float(np.nanmean(gains)), 6), interval(gains)

    def best_of(
        self, systems: NDArray[np.float32]
    ) -> Callable[[NDArray[np.intp]], NDArray[np.float32]]:
        """Return what chooses the best of some systems on given pairs, for `split_estimate`.

        Args:
            systems: similarities, shape (systems, pairs).
        """

        def choose(rows: NDArray[np.intp]) -> NDArray[np.float32]:
            scores = self.score(systems[:, rows], rows)
            found: NDArray[np.float32] = systems[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]
            return found

        return choose

    def _mean(
        self,
        score: Score,
        similarities: NDArray[np.float32],
        rows: NDArray[np.intp] | None = None,
    ) -> NDArray[np.float64]:
        """Return the mean over the sets; nan where a set has no score."""
        parts = self._parts(np.arange(len(self.pairs)) if rows is None else rows)
        found = [score(similarities[..., places], self._gold[part]) for part, places in parts]
        return np.asarray(np.mean(found, axis=0))

    def _parts(
        self, rows: NDArray[np.intp]
    ) -> list[tuple[NDArray[np.intp], NDArray[np.intp] | slice]]:
        """Return, for every set, its pairs among `rows`, and where they stand in it."""
        if len(self._sets) == 1:
            return [(rows, slice(None))]
        places = [np.flatnonzero(self._set_of[rows] == one) for one in range(len(self._sets))]
        return [(rows[each], each) for each in places]
