"""The similarities that a race has computed, and the scores that they give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from demosearch.selection.configurations import ConfigurationKey
from demosearch.selection.objective import Objective
from demosearch.selection.study import CandidateStudy

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Similarities:
    """The similarities of a study's configurations, by rung.

    The pairs are scored in an order that depends on the baseline's similarities; a rung of n pairs is
    the first n of them. The baseline is scored on all pairs before there is an order.

    Attributes:
        rungs: sizes of the rungs, ascending; the last one is all pairs.
        order: indices of the pairs in the order of the race; None before the baseline is scored.

    Args:
        study: holds the outcomes.
        objective: the pairs and the metric.
        baseline: key of the prompt without demonstrations.
        rungs: as the attribute; `begin` drops those on which nothing can be ranked.
        layers: indices into `hidden_states` to choose among.
    """

    def __init__(
        self,
        study: CandidateStudy,
        objective: Objective,
        baseline: ConfigurationKey,
        rungs: Sequence[int],
        layers: Sequence[int],
    ) -> None:
        self._study = study
        self._objective = objective
        self._baseline = baseline
        self._layers = list(layers)
        self._pairs = len(objective.pairs)
        self.rungs = list(rungs)
        self.order: NDArray[np.intp] | None = None

    def begin(self) -> bool:
        """Set the order of the pairs; return False if the baseline is not scored yet."""
        if self.order is not None:
            return True
        baseline = self.known(self._baseline, self._pairs)
        if baseline is None:
            return False
        self.order = self._objective.order(baseline[-1])
        # On a rung whose pairs all have one gold score, nothing can be ranked.
        self.rungs = [size for size in self.rungs if self._objective.can_score(self.order[:size])]
        return True

    def order_of(self, key: ConfigurationKey) -> NDArray[np.intp]:
        """Return the order in which a configuration's similarities are stored."""
        if key == self._baseline or self.order is None:
            return np.arange(self._pairs)
        return self.order

    def known(self, key: ConfigurationKey, size: int) -> NDArray[np.float32] | None:
        """Return a configuration's similarities on a rung, float32 (layers, size), as stored.

        They are nan where they are not known yet; None if none is known.
        """
        outcomes = (self._study.outcome(key, rung) for rung in self.rungs)
        known: NDArray[np.float32] | None = None
        for outcome in outcomes:
            if outcome is None or outcome.similarities is None or outcome.begin >= size:
                continue
            part, begin = outcome.similarities, outcome.begin
            if known is None:
                known = np.full((len(part), size), np.nan, dtype=np.float32)
            end = min(size, begin + part.shape[1])
            known[:, begin:end] = part[:, : end - begin]
        return known

    def whole(self, key: ConfigurationKey) -> NDArray[np.float32] | None:
        """Return a configuration's similarities of all pairs, float32 (layers, pairs), or None.

        The pairs are in their own order. The last row of the baseline is the last layer.
        """
        known = self.known(key, self._pairs)
        if known is None or np.isnan(known).any():
            return None
        similarities = np.empty_like(known)
        similarities[:, self.order_of(key)] = known
        return similarities

    def rank(self, keys: Iterable[ConfigurationKey], size: int) -> list[ConfigurationKey]:
        """Return the configurations that are scored on a rung, best first."""
        scores = {
            key: self.comparison_score(key, size)
            for key in keys
            if (outcome := self._study.outcome(key, size))
            if outcome.similarities is not None
        }
        return sorted(scores, key=lambda key: -scores[key])

    def comparison_score(self, key: ConfigurationKey, size: int) -> float:
        """Return the score by which configurations are compared on a rung, at the best layer."""
        known = self.known(key, size)
        if known is None:
            return -np.inf
        layers = known[: len(self._layers)]
        scores = self._objective.rung_score(layers, self.order_of(key)[:size])
        return float(np.max(scores, initial=-np.inf, where=~np.isnan(scores)))

    def number_better(
        self, keys: Sequence[ConfigurationKey], size: int, errors: float
    ) -> NDArray[np.intp]:
        """Return, for each configuration, how many others are significantly better on a rung.

        Each is taken at its best layer; see `Objective.number_better`.

        Args:
            keys: configurations that are ranked on this rung, without the baseline, whose similarities
                are stored in another order.
            size: size of the rung.
            errors: number of standard errors.
        """
        if not keys:
            return np.zeros(0, dtype=np.intp)
        order = self.order_of(keys[0])[:size]
        best = np.empty((len(keys), size), dtype=np.float32)
        for row, key in enumerate(keys):
            known = self.known(key, size)
            layers = np.full((1, size), np.nan) if known is None else known[: len(self._layers)]
            scores = np.nan_to_num(self._objective.rung_score(layers, order), nan=-np.inf)
            best[row] = layers[int(np.argmax(scores))]
        return self._objective.number_better(best, order, errors)

    def judge(
        self, similarities: NDArray[np.float32], order: NDArray[np.intp]
    ) -> tuple[dict[int, float], int, str]:
        """Return the scores by rung, the best layer on the last rung, and why there are no scores.

        Args:
            similarities: shape (layers, size of a rung).
            order: indices of the pairs.
        """
        layer = 0
        scores: dict[int, float] = {}
        size = similarities.shape[1]
        for rung in (rung for rung in self.rungs if rung <= size):
            by_layer = self._objective.score(similarities[:, :rung], order[:rung])
            if np.isfinite(by_layer).any():
                best = int(np.nanargmax(by_layer))
                scores[rung], layer = by_layer[best], self._layers[best]
        if size not in scores:
            metric = self._objective.metric.name
            return {}, 0, f"no {metric} of these similarities; are they all equal?"
        return scores, layer, ""
