"""The schedule of a race: which configurations are scored next, and on how many pairs.

A rung is finished when the outcomes of all its configurations are known; which of them continue follows
from these outcomes alone. So the result does not depend on which worker computed what.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np

from demosearch.errors import UserError
from demosearch.selection.configurations import Configuration, ConfigurationKey
from demosearch.selection.rungs import DROP_ERRORS, FIRST_TEST, MIN_FINALISTS, survivors
from demosearch.selection.similarities import Similarities
from demosearch.selection.stopping import StoppingRule
from demosearch.selection.study import CandidateStudy

logger = logging.getLogger(__name__)

# A search in which a larger share of the configurations fails is refused.
MAX_FAILING = 0.1
# A smaller number of failures is always accepted.
ACCEPTED_FAILURES = 3


class Schedule:
    """The state of a race of some configurations.

    Args:
        study: holds the outcomes.
        similarities: rank the configurations on a rung.
        configurations: the configurations that race.
        kept: keys of configurations that are scored on all pairs even if others are better.
        stopping: ends the race early.
        sentences: number of sentences of all pairs.
    """

    def __init__(
        self,
        study: CandidateStudy,
        similarities: Similarities,
        configurations: Sequence[Configuration],
        kept: Collection[ConfigurationKey],
        stopping: StoppingRule,
        sentences: int,
    ) -> None:
        self._study = study
        self._similarities = similarities
        self._pairs = similarities.rungs[-1]
        self._configurations = {
            configuration.key: configuration for configuration in configurations
        }
        self._kept = set(kept)
        self._stopping = stopping
        self._sentences = sentences
        self._alive = list(self._configurations)
        self._rung = 0
        self._was_cut = False

    def missing(self) -> list[tuple[ConfigurationKey, int]]:
        """Return the configurations to score next, and the rung; nothing when the race is over.

        Raises:
            UserError: too many configurations cannot be scored.
        """
        self._drop_failures()
        rungs = self._similarities.rungs
        while True:
            size = rungs[self._rung]
            waiting = [key for key in self._alive if not self._study.outcome(key, size)]
            if waiting and (reason := self._reason_to_end(size)):
                waiting = self._cut(size, reason)
                size = self._pairs
            if waiting or size == self._pairs:
                return [(key, size) for key in waiting]
            self._advance(size)

    def affords(self, sentences: float) -> bool:
        """Whether the budget has room for this number of sentences now."""
        encoded, seconds = (self._study.total(name) for name in ("sentences_encoded", "seconds"))
        return self._stopping.has_room(encoded, seconds, sentences)

    def _advance(self, size: int) -> None:
        """Keep the best configurations of a finished rung, and go to the next rung."""
        number = survivors(len(self._configurations), self._rung)
        ranked = self._similarities.rank(self._alive, size)
        leading = ranked[:number]
        good = set(leading)
        if self._rung >= FIRST_TEST:
            better = self._similarities.number_better(leading, size, DROP_ERRORS)
            counts = zip(leading, better, strict=True)
            good = {key for key, count in counts if count < MIN_FINALISTS}
        self._alive = [key for key in ranked if key in good or key in self._kept]
        self._rung += 1

    def _drop_failures(self) -> None:
        failures = self._study.failures
        self._alive = [key for key in self._alive if key not in failures]
        failed = [key for key in self._configurations if key in failures]
        if len(failed) > max(ACCEPTED_FAILURES, MAX_FAILING * len(self._configurations)):
            raise UserError(
                f"{len(failed)} of {len(self._configurations)} candidates could not be scored; the"
                f" first one failed because: {failures[failed[0]]}"
            )

    def _reason_to_end(self, size: int) -> str:
        """Return which limit is reached on a rung, or an empty text."""
        if self._was_cut or not self._stopping.is_limited:
            return ""
        before = self._size_before(size)
        outcomes = (self._study.outcome(key, size) for key in self._alive)
        if not before and not any(outcome and not outcome.failure for outcome in outcomes):
            return ""
        # The leader and the kept ones still have to be scored from the previous rung to the last one.
        ending = 1 + sum(not self._study.outcome(key, self._pairs) for key in self._kept)
        share = (self._pairs - before) / self._pairs
        if not self.affords(ending * share * self._sentences):
            return "budget"
        patience = self._stopping.patience
        if patience and size == self._pairs and self._without_improvement() >= patience:
            return "patience"
        return ""

    def _size_before(self, size: int) -> int:
        """Return the size of the previous rung; 0 on the first one."""
        index = self._similarities.rungs.index(size)
        return self._similarities.rungs[index - 1] if index else 0

    def _without_improvement(self) -> int:
        """Return how many configurations have been scored on all pairs since the best one."""
        scores = []
        for key in self._alive:
            outcome = self._study.outcome(key, self._pairs)
            if outcome is None:
                # Later outcomes, of other workers, count when all earlier ones are known.
                break
            scores.append(outcome.score)
        return len(scores) - 1 - int(np.argmax(scores)) if scores else 0

    def _cut(self, size: int, reason: str) -> list[ConfigurationKey]:
        """End the race: only the leader, and the kept ones, are still scored on all pairs.

        The leader depends on the moment, so the first worker that ends the race decides for all.
        """
        keys = list(self._configurations)
        rank = self._similarities.rank
        best = (rank(keys, size) or rank(keys, self._size_before(size) or size))[0]
        leader = self._shared_leader(best, reason)
        logger.info("the %s is reached: the leader is scored on all pairs", reason)
        self._was_cut = True
        if reason == "budget":
            self._stopping.is_spent = True
        done = [key for key in rank(keys, self._pairs) if key != leader]
        settled = {leader, *done, *self._study.failures}
        kept = [key for key in self._kept if key not in settled]
        self._alive = [leader, *done, *sorted(kept, key=lambda key: key.demonstrations)]
        self._rung = len(self._similarities.rungs) - 1
        return [key for key in self._alive if not self._study.outcome(key, self._pairs)]

    def _shared_leader(self, best: ConfigurationKey, reason: str) -> ConfigurationKey:
        """Return the leader that the first worker found."""
        text = self._study.note(
            f"{reason} reached {self._stopping.name}".strip(), self._configurations[best].text
        )
        by_text = {configuration.text: key for key, configuration in self._configurations.items()}
        leader = by_text.get(text, best)
        # A resumed search with a time budget may end at another moment than it did before.
        return best if self._study.outcome(leader, self._pairs) else leader
