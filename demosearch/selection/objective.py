"""The objective of a search: how well similarities agree with the gold scores of development pairs.

The objective is a metric, by default Spearman's correlation x 100. Over several sets of pairs it is the
mean of the sets' scores, each over its whole set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from demosearch.datasets.pairs import Pairs, require_pairs
from demosearch.errors import UserError
from demosearch.metrics.bootstrap import bootstrap_differences, interval, split_gains
from demosearch.metrics.correlation import rank_correlation
from demosearch.metrics.metric import SPEARMAN, Metric, Score
from demosearch.selection.rungs import spread_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Number of the best systems that the others are compared with.
COMPARED = 60

# Returns the similarities (pairs,) under what is best on the pairs of some indices.
Choose = Callable[["NDArray[np.intp]"], "NDArray[np.float32]"]


class Objective:
    """The gold scores of pairs, and a metric.

    Attributes:
        pairs: the pairs.
        metric: the metric.
        seed: random seed of the resampling and of the order of the pairs.

    Raises:
        UserError: `pairs` is another object, or a score is not finite.
    """

    def __init__(self, pairs: Pairs, metric: Metric = SPEARMAN, seed: int = 0) -> None:
        require_pairs(pairs, "pairs")
        self.pairs = pairs
        self.metric = metric
        self.seed = seed
        self._gold = np.asarray(pairs.scores)
        sizes = pairs.set_sizes
        # The index of each pair's set, and the indices of each set's pairs.
        self._set_of = np.repeat(np.arange(len(sizes)), sizes)
        self._sets = [np.flatnonzero(self._set_of == index) for index in range(len(sizes))]

    def score(
        self, similarities: NDArray[np.float32], rows: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Return the score of similarities (..., pairs) as (...); nan where there is no score.

        Args:
            similarities: of all pairs, or of the pairs in `rows`.
            rows: indices of pairs; None means all.
        """
        return np.round(self._mean(self.metric.score, similarities, rows), 6)

    def rung_score(
        self, similarities: NDArray[np.float32], rows: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return the score that decides which configurations go on from a rung; see `score`."""
        return self._mean(self.metric.rung_score, similarities, rows)

    def number_better(
        self, similarities: NDArray[np.float32], rows: NDArray[np.intp], errors: float
    ) -> NDArray[np.intp]:
        """Return, for each system, how many others have a significantly better `rung_score`.

        Args:
            similarities: of the pairs in `rows`, shape (systems, pairs).
            rows: indices of pairs; each set's are taken as a sample of the set, without replacement.
            errors: a difference of more standard errors is significant. The standard error is that of
                the paired difference.

        Returns:
            Shape (systems,); all 0 if the metric has no `influences`. Each system is compared with the
            `COMPARED` best ones.
        """
        if self.metric.influences is None:
            return np.zeros(len(similarities), dtype=np.intp)
        scores = self.rung_score(similarities, rows)
        leading = np.argsort(-scores, kind="stable")[:COMPARED]
        variances = np.zeros((len(leading), len(similarities)))
        for (pairs, columns), whole in zip(self._parts(rows), self._sets, strict=True):
            influences = self.metric.influences(similarities[:, columns], self._gold[pairs])
            own = (influences**2).mean(axis=1)
            products = influences[leading] @ influences.T / len(pairs)
            left = 1 - len(pairs) / len(whole)
            variances += (own[leading][:, None] + own - 2 * products) * left / len(pairs)
        standard_errors = np.sqrt(np.maximum(variances, 0)) / len(self._sets)
        differences = scores[leading][:, None] - scores
        return np.asarray((differences > errors * standard_errors).sum(axis=0))

    def spearman(self, similarities: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return Spearman's correlation x 100, also if the metric is another; see `score`."""
        return np.round(self._mean(rank_correlation, similarities), 6)

    def can_score(self, rows: NDArray[np.intp]) -> bool:
        """Whether the gold scores of some pairs differ in each set."""
        return all(len(set(self._gold[pairs])) > 1 for pairs, _ in self._parts(rows))

    def order(self, baseline: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the order in which the rungs take the pairs; the sets take turns.

        Args:
            baseline: similarities of all pairs without demonstrations, shape (pairs,).
        """
        orders = [
            pairs[spread_order(self._gold[pairs].tolist(), baseline[pairs], self.seed)]
            for pairs in self._sets
        ]
        turns = np.concatenate([np.arange(len(order)) for order in orders])
        return np.concatenate(orders)[np.argsort(turns, kind="stable")]

    def intervals(
        self, system: NDArray[np.float32], others: Sequence[NDArray[np.float32]]
    ) -> list[tuple[float, float]]:
        """Return the 95% intervals of the differences between a system and each of several others.

        By paired bootstrap over the pairs of each set. The interval shows how much a difference depends
        on the pairs. It is not adjusted for the choice of the best of many candidates.

        Args:
            system: similarities, shape (pairs,).
            others: similarities of the other systems, each of shape (pairs,).

        Raises:
            UserError: no resample of the pairs has a score.
        """
        differences = [
            bootstrap_differences(
                system[pairs],
                [other[pairs] for other in others],
                self._gold[pairs],
                self.metric.score,
                self.seed + index,
            )
            for index, pairs in enumerate(self._sets)
        ]
        means = np.mean(differences, axis=0)
        if np.isnan(means).all(axis=1).any():
            raise UserError(
                f"{self.pairs.name}: no resample of these pairs has a {self.metric.name}; use more pairs"
                " with different scores"
            )
        return [interval(values) for values in means]

    def interval(
        self, system: NDArray[np.float32], other: NDArray[np.float32]
    ) -> tuple[float, float]:
        """Return the 95% interval of the difference between two systems; see `intervals`."""
        return self.intervals(system, [other])[0]

    def split_estimate(
        self, choose: Choose, baseline: Choose | NDArray[np.float32]
    ) -> tuple[float, tuple[float, float]] | None:
        """Return an estimate of the gain on other pairs, and its 95% range over random splits.

        None if so few gold scores differ that no half of the pairs can be scored.

        The score of the best of many candidates on the pairs that chose it is too high. Here a random
        half of each set makes the choice and the other half measures its gain, repeatedly.

        Args:
            choose: returns the similarities of all pairs, shape (pairs,), under what is best on the
                pairs of some indices.
            baseline: what it is compared with: similarities, shape (pairs,), or a choice, which is
                made on the same half.
        """

        def gain(choosing: NDArray[np.intp], measuring: NDArray[np.intp]) -> float:
            if not self.can_score(choosing) or not self.can_score(measuring):
                # If few gold scores differ, those of a half may all be equal.
                return np.nan
            before = baseline(choosing) if callable(baseline) else baseline
            score, other = (
                self.score(rows[measuring], measuring) for rows in (choose(choosing), before)
            )
            return float(score - other)

        gains = split_gains(gain, self._sets, self.seed)
        if np.isnan(gains).all():
            return None
        return round(float(np.nanmean(gains)), 6), interval(gains)

    def best_of(self, systems: NDArray[np.float32]) -> Choose:
        """Return a function that chooses the best of some systems on given pairs.

        Args:
            systems: similarities, shape (systems, pairs).
        """

        def choose(rows: NDArray[np.intp]) -> NDArray[np.float32]:
            scores = self.score(systems[:, rows], rows)
            best: NDArray[np.float32] = systems[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]
            return best

        return choose

    def _mean(
        self,
        score: Score,
        similarities: NDArray[np.float32],
        rows: NDArray[np.intp] | None = None,
    ) -> NDArray[np.float64]:
        """Return the mean score over the sets; nan if a set has no score."""
        parts = self._parts(np.arange(len(self.pairs)) if rows is None else rows)
        scores = [score(similarities[..., columns], self._gold[pairs]) for pairs, columns in parts]
        return np.asarray(np.mean(scores, axis=0))

    def _parts(
        self, rows: NDArray[np.intp]
    ) -> list[tuple[NDArray[np.intp], NDArray[np.intp] | slice]]:
        """Return, for each set, those of `rows` in it, and their positions in `rows`."""
        if len(self._sets) == 1:
            return [(rows, slice(None))]
        positions = [
            np.flatnonzero(self._set_of[rows] == index) for index in range(len(self._sets))
        ]
        return [(rows[columns], columns) for columns in positions]
