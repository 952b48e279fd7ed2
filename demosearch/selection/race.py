"""Scoring the candidates: all on all pairs, or in a race on ever more pairs.

The race is successive halving (Jamieson and Talwalkar, AISTATS 2016) over nested subsets of the dev
pairs: all candidates meet on the same few pairs, the better half goes on to twice as many, and the
last ones standing are scored on the whole set. Exhaustive search is a race with one rung.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.prompt import Prompt
from demosearch.selection.objective import Objective
from demosearch.selection.rungs import survivors
from demosearch.selection.similarities import SimilarityStore
from demosearch.selection.statistics import spearman
from demosearch.selection.study import BASELINE, CandidateStudy

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Called after every candidate on a rung: pairs new on this rung, its size, id, score (None: failed).
Report = Callable[[int, int, str, float | None], None]


class Race:
    """Candidates, pairs in the order in which they are looked at, and the rungs.

    Args:
        objective: gives similarities of pairs under a prompt.
        study: where scores are recorded.
        store: where similarities are kept.
        order: indices of all pairs; a rung of n pairs is the first n of them.
        rungs: sizes of the rungs, rising; the last is all pairs.
        report: told of every score.
    """

    def __init__(
        self,
        objective: Objective,
        study: CandidateStudy,
        store: SimilarityStore,
        order: NDArray[np.intp],
        rungs: Sequence[int],
        report: Report | None = None,
    ) -> None:
        self._objective = objective
        self._study = study
        self._store = store
        self._order = order
        self._rungs = list(rungs)
        self._report = report

    def run(self, prompt: Prompt, candidates: Sequence[Demonstration]) -> None:
        """Score the candidates and the prompt without demonstration.

        Raises:
            UserError: the prompt without demonstration cannot be scored.
        """
        prompts = {BASELINE: prompt.with_demonstrations()}
        prompts |= {one.id: prompt.with_demonstrations(one) for one in candidates}
        self._study.open(candidates)
        alive = list(prompts)
        for before, size in pairwise([0, *self._rungs]):
            scores: dict[str, float] = {}
            for candidate in alive:
                score = self._score(candidate, prompts[candidate], size)
                if score is not None:
                    scores[candidate] = score
                if self._report:
                    self._report(size - before, size, candidate, score)
            if BASELINE not in scores:
                raise UserError(
                    "the prompt without demonstration could not be scored on these pairs"
                )
            alive = self._next(scores, size)

    def _next(self, scores: dict[str, float], size: int) -> list[str]:
        """End the trials that drop out at this rung and return those that go on."""
        if size == self._rungs[-1]:
            for candidate, score in scores.items():
                if not self._study.finished(candidate):
                    self._study.complete(candidate, score)
            return []
        ranked = sorted(
            (name for name in scores if name != BASELINE), key=lambda name: -scores[name]
        )
        staying = {BASELINE, *ranked[: survivors(len(ranked))]}
        for candidate in ranked:
            if candidate not in staying and not self._study.finished(candidate):
                self._study.prune(candidate)
        return [candidate for candidate in scores if candidate in staying]

    def _score(self, candidate: str, prompt: Prompt, size: int) -> float | None:
        """Return the candidate's score on a rung, computing only what is not known; None: failed."""
        known = self._study.score(candidate, size)
        if known is not None or self._study.finished(candidate):
            return known
        indices = self._order[:size]
        similarities = self._store.load(candidate)
        missing = indices[np.isnan(similarities[indices])]
        started, before = time.monotonic(), self._objective.sentences_encoded
        if len(missing):
            try:
                similarities[missing] = self._objective.similarities(prompt, missing.tolist())
            except UserError as error:
                self._failed(candidate, str(error))
                return None
            if not np.isfinite(similarities[missing]).all():
                self._failed(candidate, "a similarity is not finite")
                return None
            self._store.save(candidate, similarities)
        score = spearman(similarities[indices], [self._objective.pairs.scores[i] for i in indices])
        if not math.isfinite(score):
            self._failed(candidate, "all similarities are equal")
            return None
        self._study.report(
            candidate,
            size,
            score,
            self._objective.sentences_encoded - before,
            time.monotonic() - started,
        )
        return score

    def _failed(self, candidate: str, reason: str) -> None:
        logger.warning("candidate %s could not be scored: %s", candidate, reason)
        self._study.fail(candidate, reason)


def planned_pairs(candidates: int, rungs: Sequence[int]) -> int:
    """Return how many pairs will be looked at in all, the prompt without demonstration included."""
    total = 0
    for before, size in pairwise([0, *rungs]):
        total += (candidates + 1) * (size - before)
        candidates = survivors(candidates)
    return total
