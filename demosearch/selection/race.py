"""Scoring the candidates: all on all pairs, or in a race on ever more pairs.

The race is successive halving (Jamieson and Talwalkar, AISTATS 2016) over nested subsets of the dev
pairs: all candidates meet on the same few pairs, the better half goes on to twice as many, and the
last ones standing are scored on the whole set. Exhaustive search is a race with one rung.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.prompt import Prompt
from demosearch.selection.objective import Answer, Objective, Question
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
            found: dict[str, float] = {}
            for candidate, score in self._scores({name: prompts[name] for name in alive}, size):
                if score is not None:
                    found[candidate] = score
                if self._report:
                    self._report(size - before, size, candidate, score)
            if BASELINE not in found:
                raise UserError(
                    "the prompt without demonstration could not be scored on these pairs"
                )
            # Several devices answer in any order; what follows must not depend on it.
            alive = self._next({name: found[name] for name in alive if name in found}, size)

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

    def _scores(self, prompts: dict[str, Prompt], size: int) -> Iterator[tuple[str, float | None]]:
        """Yield the candidates' scores on a rung, computing only what is not known; None: failed."""
        indices = self._order[:size]
        questions = []
        for candidate, prompt in prompts.items():
            known = self._study.score(candidate, size)
            if known is not None or self._study.finished(candidate):
                yield candidate, known
                continue
            similarities = self._store.load(candidate)
            missing = indices[np.isnan(similarities[indices])]
            if len(missing):
                questions.append(Question(candidate, prompt, missing.tolist()))
            else:
                yield candidate, self._score(candidate, similarities, indices)
        for answer in self._objective.similarities_of_each(questions):
            yield answer.question.candidate, self._taken(answer, indices)

    def _taken(self, answer: Answer, indices: NDArray[np.intp]) -> float | None:
        """Keep an answer and return the score it leads to."""
        candidate = answer.question.candidate
        if answer.similarities is None:
            self._failed(candidate, answer.failure)
            return None
        if not np.isfinite(answer.similarities).all():
            self._failed(candidate, "a similarity is not finite")
            return None
        similarities = self._store.load(candidate)
        similarities[answer.question.indices] = answer.similarities
        self._store.save(candidate, similarities)
        self._study.lower_token_budget(self._objective.token_budget)
        return self._score(candidate, similarities, indices, answer.sentences, answer.seconds)

    def _score(
        self,
        candidate: str,
        similarities: NDArray[np.float32],
        indices: NDArray[np.intp],
        sentences: int = 0,
        seconds: float = 0.0,
    ) -> float | None:
        """Record and return the score of a candidate whose similarities are all known."""
        score = spearman(similarities[indices], [self._objective.pairs.scores[i] for i in indices])
        if not math.isfinite(score):
            self._failed(candidate, "all similarities are equal")
            return None
        self._study.report(candidate, len(indices), score, sentences, seconds)
        return score

    def _failed(self, candidate: str, reason: str) -> None:
        """End the candidate's trial; a failure is never a score."""
        logger.warning("candidate %s could not be scored: %s", candidate, reason)
        self._study.fail(candidate, reason)


def planned_pairs(candidates: int, rungs: Sequence[int]) -> int:
    """Return how many pairs will be looked at in all, the prompt without demonstration included."""
    total = 0
    for before, size in pairwise([0, *rungs]):
        total += (candidates + 1) * (size - before)
        candidates = survivors(candidates)
    return total
