"""Scoring the candidates: all on all pairs, or in a race on ever more pairs.

The race eliminates by rungs, as successive halving does (Jamieson and Talwalkar, AISTATS 2016), on
nested subsets of the dev pairs: all candidates meet on the same few pairs, the better ones go on to
more, and the last ones standing are scored on the whole set. Exhaustive search is a race with one rung.

Who goes on is decided by the correlation of normal scores, not of ranks: on few pairs it tells the
better candidates with less error, while the score that is reported stays Spearman's.

Any number of workers, here or on other hosts, share a race through its study. A rung is over when
everyone's similarities on it are known; who goes on follows from them alone. So the outcome is the
same whoever computed what.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from demosearch.demonstration import Demonstration
from demosearch.errors import DeviceLostError, OutOfMemoryError, UserError
from demosearch.selection.configurations import BASELINE, Configuration
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.rungs import survivors
from demosearch.selection.stopping import StoppingRule
from demosearch.selection.study import CandidateStudy, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Called with an configuration, how many pairs were looked at, and its scores by rung; none: it failed.
Report = Callable[[Configuration, int, dict[int, float]], None]

# So many are claimed at a time at most; few enough that workers end a rung together.
MOST_CLAIMED = 8
# Seconds between looks at what the others have done.
POLL = 0.2
# A search of which more than this share fails is not worth its time.
MOST_FAILING = 0.1
# So few failures say nothing yet.
FEWEST_FAILING = 3


class Race:
    """ConfigurationFactory, pairs in the order in which they are looked at, and the rungs.

    Args:
        pair_encoder: gives similarities of pairs under a prompt.
        study: where what is found is kept.
        baseline: the prompt without demonstration.
        rungs: sizes of the rungs, rising; the last is all pairs.
        layers: indices into `hidden_states` to choose among, all from one pass.
        last: the last layer; the baseline's similarities there are kept too.
        stopping: ends the race early.
        report: told of every score.
    """

    def __init__(
        self,
        pair_encoder: PairEncoder,
        study: CandidateStudy,
        baseline: Configuration,
        rungs: Sequence[int],
        layers: Sequence[int],
        last: int,
        stopping: StoppingRule,
        report: Report | None = None,
    ) -> None:
        self._pair_encoder = pair_encoder
        self._study = study
        self._objective = pair_encoder.objective
        # Of all pairs; a rung of n pairs is the first n of them.
        self._order: NDArray[np.intp] | None = None
        self._pairs = len(pair_encoder.pairs)
        self._rungs = list(rungs)
        self._before: dict[int, int] = {}
        self._layers = list(layers)
        self._baseline_layers = list(dict.fromkeys([*layers, last]))
        self._stopping = stopping
        self._report = report
        # Guards the study's memory and the race's own, where several concurrency work.
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._baseline = baseline
        self._configurations: dict[str, Configuration] = {}
        self._alive: list[str] = []
        self._staying: set[str] = set()
        self._rung = 0
        self._was_cut = False
        self._is_spent = False

    def run(self, configurations: Sequence[Configuration], staying: Collection[str] = ()) -> None:
        """Go on until all that stay are scored on all pairs, or a limit is reached.

        May be called again with other configurations.

        Args:
            configurations: what races.
            staying: names of those that are scored on all pairs whatever their standing.

        Raises:
            UserError: the prompt without demonstration cannot be scored, or too many cannot.
        """
        self._configurations = {
            configuration.name: configuration for configuration in configurations
        }
        self._alive = list(self._configurations)
        self._staying = set(staying)
        self._rung = 0
        self._was_cut = False
        self._stopped.clear()
        concurrency = self._pair_encoder.encoder.concurrency
        if concurrency == 1:
            self._work(0)
            return
        with ThreadPoolExecutor(concurrency) as threads:
            running = [threads.submit(self._work, lane) for lane in range(concurrency)]
            try:
                for lane in running:
                    lane.result()
            finally:
                self._stopped.set()

    def allows(self, stage: str, sentences: float) -> bool:
        """Whether the budget has room for a stage after the race.

        What is found first stays: a stage that was paid for is part of the answer when the same command
        is given again, and for every worker.

        Args:
            stage: names it.
            sentences: that it takes at most.
        """
        if not self._stopping.name:
            return True
        room = self._study.note(f"{stage} within {self._stopping.name}", self._affords(sentences))
        if not room:
            logger.warning("the budget has no room for %s: left out", stage)
        return bool(room)

    def allows_pairs(self, stage: str, pairs: int) -> bool:
        """Whether the budget has room for a stage that looks at so many pairs; as `allows`."""
        return self.allows(stage, pairs / self._pairs * len(self._pair_encoder.pairs.sentences()))

    def _affords(self, sentences: float) -> bool:
        """Whether the budget has room for so many more at this moment."""
        spent, seconds = (self._study.total(each) for each in ("sentences_encoded", "seconds"))
        return not self._is_spent and not self._stopping.is_spent(spent, seconds, sentences)

    def leaders(self, configurations: Sequence[Configuration], number: int) -> list[Configuration]:
        """Return the configurations that went furthest and stood best there, one a demonstration."""
        reached: dict[str, tuple[int, float]] = {}
        for configuration in configurations:
            sizes = [size for size in self._rungs if self._study.outcome(configuration.name, size)]
            if sizes and configuration.name not in self._study.failures:
                reached[configuration.name] = (sizes[-1], self._key(configuration.name, sizes[-1]))
        found = [configuration for configuration in configurations if configuration.name in reached]
        found.sort(key=lambda configuration: reached[configuration.name], reverse=True)
        # The same demonstration may lead under several templates.
        best: dict[tuple[Demonstration, ...], Configuration] = {}
        for configuration in found:
            best.setdefault(configuration.prompt.demonstrations, configuration)
        return list(best.values())[:number]

    def similarities(self, name: str) -> NDArray[np.float32] | None:
        """Return an configuration's similarities at its layers, float32 (layers, pairs), if all are known.

        The last row of the baseline is the last layer.
        """
        known = self._known(name, self._pairs)
        if known is None or np.isnan(known).any():
            return None
        found = np.empty_like(known)
        found[:, self._order_of(name)] = known
        return found

    def _work(self, lane: int) -> None:
        claims = self._study.claims(lane)
        try:
            while not self._stopped.is_set():
                missing = self._missing()
                if not missing:
                    return
                taken = claims.claim(list(missing), self._fair_share(missing))
                if not taken:
                    time.sleep(POLL)
                with self._lock:
                    self._study.refresh()
                for claim in taken:
                    name, size = missing[claim]
                    if self._study.outcome(name, size) is None and not self._stopped.is_set():
                        self._score(name, size)
                claims.release()
        except BaseException:
            self._stopped.set()
            raise
        finally:
            claims.close()

    def _fair_share(self, missing: dict[str, tuple[str, int]]) -> int:
        """Return how many to claim: few where few are left, one where each might be the last."""
        if self._stopping.are_set:
            return 1
        return max(
            1, min(MOST_CLAIMED, len(missing) // (2 * self._pair_encoder.encoder.concurrency))
        )

    def _missing(self) -> dict[str, tuple[str, int]]:
        """Return what is to be scored now, by the name of its claim; nothing when all is over."""
        with self._lock:
            self._study.refresh()
            self._look_for_failures()
            if self._order is None:
                baseline = self._known(BASELINE, self._pairs)
                if baseline is None:
                    return {f"{BASELINE}@{self._pairs}": (BASELINE, self._pairs)}
                self._begin(baseline[-1])
            while True:
                size = self._rungs[self._rung]
                waiting = [name for name in self._alive if not self._study.outcome(name, size)]
                if waiting and (reason := self._end_is_due(size)):
                    waiting = self._cut(size, reason)
                if waiting:
                    return {f"{name}@{size}": (name, size) for name in waiting}
                if size == self._rungs[-1]:
                    return {}
                self._alive = self._next(size)
                self._rung += 1

    def _begin(self, baseline: NDArray[np.float32]) -> None:
        """Set the order, and drop the rungs on which it has pairs of one score only."""
        self._order = order = self._objective.order(baseline)
        self._rungs = [size for size in self._rungs if self._objective.can_score(order[:size])]
        self._before = dict(zip(self._rungs, [0, *self._rungs], strict=False))
        known = self._study.outcome(BASELINE, self._pairs)
        if self._report and known:
            self._report(self._baseline, 0, known.scores)

    def _next(self, size: int) -> list[str]:
        """Return who goes on from a rung that is over, in the order of their standing."""
        going_on = survivors(len(self._configurations), self._rung)
        standing = self._standing(self._alive, size)
        return [
            name for place, name in enumerate(standing) if place < going_on or name in self._staying
        ]

    def _standing(self, names: Sequence[str], size: int) -> list[str]:
        """Return those that were scored on a rung, best first."""
        found = {
            name: self._key(name, size)
            for name in names
            if (outcome := self._study.outcome(name, size))
            if outcome.similarities is not None
        }
        return sorted(found, key=lambda name: -found[name])

    def _order_of(self, name: str) -> NDArray[np.intp]:
        """Return the order in which an configuration's pairs are kept; the baseline comes before any order."""
        if name == BASELINE or self._order is None:
            return np.arange(self._pairs)
        return self._order

    def _key(self, name: str, size: int) -> float:
        """Return what decides who goes on: the best layer's standing."""
        known = self._known(name, size)
        if known is None:
            return -np.inf
        chosen = known[: len(self._layers)]
        return float(np.nanmax(self._objective.rung_score(chosen, self._order_of(name)[:size])))

    def _known(self, name: str, size: int) -> NDArray[np.float32] | None:
        """Return an configuration's similarities on a rung, float32 (layers, size), in the race's order.

        nan where they are not known yet; None if none is.
        """
        outcomes = [self._study.outcome(name, each) for each in self._rungs]
        parts = [(each.begin, each.similarities) for each in outcomes if each]
        found: NDArray[np.float32] | None = None
        for begin, similarities in parts:
            if similarities is None or begin >= size:
                continue
            if found is None:
                found = np.full((len(similarities), size), np.nan, dtype=np.float32)
            end = min(size, begin + similarities.shape[1])
            found[:, begin:end] = similarities[:, : end - begin]
        return found

    def _end_is_due(self, size: int) -> str:
        """Return which limit is reached, or nothing."""
        if self._was_cut or not self._stopping.are_set:
            return ""
        outcomes = (self._study.outcome(name, size) for name in self._alive)
        if not self._before[size] and not any(each and not each.failure for each in outcomes):
            return ""
        whole = self._pairs
        # The best so far, and those that stay, from the rung before to the end.
        ending = 1 + sum(not self._study.outcome(name, whole) for name in self._staying)
        left = ending * (whole - self._before[size]) / whole
        if not self._affords(left * len(self._pair_encoder.pairs.sentences())):
            return "budget"
        patience = self._stopping.patience
        if patience and size == whole and self._fruitless() >= patience:
            return "patience"
        return ""

    def _fruitless(self) -> int:
        """Return how many of the last candidates scored on all pairs were no new best."""
        scores = []
        for name in self._alive:
            outcome = self._study.outcome(name, self._pairs)
            if outcome is None:
                # What others are at counts once all before it is known.
                break
            scores.append(outcome.score)
        return len(scores) - 1 - int(np.argmax(scores)) if scores else 0

    def _cut(self, size: int, reason: str) -> list[str]:
        """End the race: the best so far alone is still scored on all pairs.

        Which is the best so far depends on the moment, so the first worker's finding is everyone's.
        """
        names = list(self._configurations)
        ranked = self._standing(names, size) or self._standing(names, self._before[size] or size)
        leader = self._study.note(f"{reason} reached {self._stopping.name}".strip(), ranked[0])
        whole = self._study.outcome(leader, self._pairs)
        if leader not in self._configurations or (whole and leader != ranked[0]):
            # By the clock it ends at another moment than it did in an earlier sitting.
            leader = ranked[0]
        logger.info("the %s is reached: the best so far is scored on all pairs", reason)
        self._was_cut = True
        self._is_spent = reason == "budget"
        done = [name for name in self._standing(names, self._pairs) if name != leader]
        gone = {leader, *done, *self._study.failures}
        staying = [name for name in self._staying if name not in gone]
        self._alive = [leader, *done, *sorted(staying)]
        self._rung = len(self._rungs) - 1
        return [name for name in self._alive if not self._study.outcome(name, self._pairs)]

    def _look_for_failures(self) -> None:
        failures = self._study.failures
        self._alive = [name for name in self._alive if name not in failures]
        if BASELINE in failures:
            raise UserError(
                "the prompt without demonstration could not be scored on these pairs:"
                f" {failures[BASELINE]}"
            )
        failed = [name for name in self._configurations if name in failures]
        if len(failed) > max(FEWEST_FAILING, MOST_FAILING * len(self._configurations)):
            raise UserError(
                f"{len(failed)} of {len(self._configurations)} candidates could not be scored, the first"
                f" because: {failures[failed[0]]}"
            )

    def _score(self, name: str, size: int) -> None:
        """Compute what is not known of an configuration up to a rung, and write it."""
        with self._lock:
            known = self._known(name, size)
        missing = np.arange(size) if known is None else np.flatnonzero(np.isnan(known[0]))
        configuration = self._baseline if name == BASELINE else self._configurations[name]
        order = self._order_of(name)
        indices = order[missing].tolist()
        layers = self._baseline_layers if name == BASELINE else self._layers
        started = time.monotonic()
        new, failure = np.empty((len(layers), 0), dtype=np.float32), ""
        try:
            if indices:
                new = self._pair_encoder.similarities(configuration.prompt, indices, layers)
        except (DeviceLostError, OutOfMemoryError):
            # The prompt is not to blame, and may do well another time.
            raise
        except UserError as error:
            failure = str(error)
        seconds = time.monotonic() - started
        scores: dict[int, float] = {}
        layer = 0
        if not failure:
            whole = np.empty((len(layers), size), dtype=np.float32) if known is None else known
            whole[:, missing] = new
            if name == BASELINE:
                # It is whole before there is an order; its rungs are the others' all the same.
                order = self._objective.order(whole[-1])
                whole = whole[:, order]
            scores, layer, failure = self._judged(whole[: len(self._layers)], order)
        if failure:
            # A failure is never a score.
            logger.warning("candidate %s could not be scored: %s", name, failure)
        outcome = Outcome(
            None if failure else new,
            int(missing[0]) if indices else size,
            failure,
            scores,
            layer,
            len(self._pair_encoder.pairs.sentences(indices)),
            seconds,
        )
        with self._lock:
            self._study.lower_token_budget(self._pair_encoder.encoder.token_budget)
            self._study.add(configuration, size, outcome, is_last=size == self._pairs)
        if self._report:
            self._report(configuration, len(indices), scores)

    def _judged(
        self, similarities: NDArray[np.float32], order: NDArray[np.intp]
    ) -> tuple[dict[int, float], int, str]:
        """Return the scores by rung, the best layer on the last of them, or why there are none."""
        if not np.isfinite(similarities).all():
            return {}, 0, "a similarity is not finite"
        layer = 0
        scores: dict[int, float] = {}
        size = similarities.shape[1]
        for rung in (each for each in self._rungs if each <= size):
            found = self._objective.score(similarities[:, :rung], order[:rung])
            if np.isfinite(found).any():
                best = int(np.nanargmax(found))
                scores[rung], layer = found[best], self._layers[best]
        if size not in scores:
            return (
                {},
                0,
                f"no {self._objective.metric.name} of these similarities; are they all equal?",
            )
        return scores, layer, ""


def planned_finalists(candidates: int, rungs: Sequence[int]) -> int:
    """Return how many candidates will be scored on all pairs."""
    if len(rungs) == 1:
        return candidates
    return survivors(candidates, len(rungs) - 2)


def planned_pairs(candidates: int, rungs: Sequence[int]) -> int:
    """Return how many pairs will be looked at in all, the prompt without demonstration included."""
    total, left = rungs[-1], candidates
    for rung, (before, size) in enumerate(pairwise([0, *rungs])):
        total += left * (size - before)
        left = survivors(candidates, rung)
    return total
