"""Scoring the configurations by successive halving (the race).

All configurations are compared on a rung, a small subset of the development pairs. The better ones
continue on the next, larger rung, and the last ones, the finalists, are scored on all pairs (Jamieson and
Talwalkar, AISTATS 2016). The rungs are nested, so nothing is computed twice. An exhaustive search is a
race with one rung.

Configurations are compared by the correlation of normal scores instead of ranks, which has a smaller error
on few pairs; the score that is reported is Spearman's.

Any number of workers, on this host or on others, share a race through its study.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from demosearch.demonstration import Demonstration
from demosearch.errors import DeviceLostError, OutOfMemoryError, UserError
from demosearch.selection.configurations import Configuration, ConfigurationKey
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.schedule import Schedule
from demosearch.selection.similarities import Similarities
from demosearch.selection.stopping import StoppingRule
from demosearch.selection.study import CandidateStudy
from demosearch.selection.trials import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Called with a configuration, the number of pairs that were scored, and its scores by rung; no scores
# mean that it failed.
Report = Callable[[Configuration, int, dict[int, float]], None]

# Maximum number of configurations that a worker claims at a time; small, so that all workers finish a
# rung at about the same time.
MAX_CLAIMED = 8
# Seconds between two reads of the study while other workers hold all that is left.
POLL = 0.2


class Race:
    """Scores configurations on the rungs, in one thread or several.

    Args:
        pair_encoder: computes similarities of pairs under a prompt.
        study: stores the outcomes.
        baseline: the prompt without demonstrations.
        rungs: sizes of the rungs, ascending; the last one is all pairs.
        layers: indices into `hidden_states` to choose among, all computed in one pass.
        last: the last layer; the baseline's similarities there are stored too.
        stopping: ends the race early.
        report: called with every score.
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
        self._baseline = baseline
        self._layers = list(layers)
        self._last = last
        self._stopping = stopping
        self._report = report
        self._objective = pair_encoder.objective
        self._pairs = len(pair_encoder.pairs)
        self._sentences = len(pair_encoder.pairs.sentences())
        self._similarities = Similarities(study, self._objective, baseline.key, rungs, self._layers)
        self._configurations = {baseline.key: baseline}
        self._schedule = self._new_schedule([], ())
        # Guards the study, the similarities and the schedule, which all threads share.
        self._lock = threading.RLock()
        self._stopped = threading.Event()

    def run(
        self, configurations: Sequence[Configuration], kept: Collection[ConfigurationKey] = ()
    ) -> None:
        """Score configurations until the finalists are scored on all pairs or a limit is reached.

        May be called again with other configurations.

        Args:
            configurations: the configurations that race.
            kept: keys of configurations that are scored on all pairs even if others are better.

        Raises:
            UserError: the baseline, or too many configurations, cannot be scored.
        """
        self._configurations |= {
            configuration.key: configuration for configuration in configurations
        }
        self._schedule = self._new_schedule(configurations, kept)
        self._stopped.clear()
        concurrency = self._pair_encoder.encoder.concurrency
        if concurrency == 1:
            self._work(0)
            return
        with ThreadPoolExecutor(concurrency) as threads:
            running = [threads.submit(self._work, thread) for thread in range(concurrency)]
            try:
                for worker in running:
                    worker.result()
            finally:
                self._stopped.set()

    def allows(self, stage: str, sentences: float) -> bool:
        """Whether the budget has room for a stage after the race.

        The first answer is stored: a resumed search, and every other worker, gets the same one.

        Args:
            stage: name of the stage.
            sentences: maximum number of sentences that it encodes.
        """
        if not self._stopping.name:
            return True
        room = self._study.note(
            f"{stage} within {self._stopping.name}", self._schedule.affords(sentences)
        )
        if not room:
            logger.warning("%s: skipped because the budget is too small", stage)
        return bool(room)

    def allows_pairs(self, stage: str, pairs: int) -> bool:
        """Whether the budget has room for a stage that scores this number of pairs; as `allows`."""
        return self.allows(stage, pairs / self._pairs * self._sentences)

    def leaders(self, configurations: Sequence[Configuration], number: int) -> list[Configuration]:
        """Return the configurations with the best scores on the largest rungs.

        Of configurations with the same demonstrations under several templates, only the best one is
        among them.
        """
        last_scores: dict[ConfigurationKey, tuple[int, float]] = {}
        for key in (configuration.key for configuration in configurations):
            sizes = [size for size in self._similarities.rungs if self._study.outcome(key, size)]
            if sizes and key not in self._study.failures:
                score = self._similarities.comparison_score(key, sizes[-1])
                last_scores[key] = (sizes[-1], score)
        scored = [
            configuration for configuration in configurations if configuration.key in last_scores
        ]
        scored.sort(key=lambda configuration: last_scores[configuration.key], reverse=True)
        best: dict[tuple[Demonstration, ...], Configuration] = {}
        for configuration in scored:
            best.setdefault(configuration.prompt.demonstrations, configuration)
        return list(best.values())[:number]

    def similarities(self, key: ConfigurationKey) -> NDArray[np.float32] | None:
        """Return a configuration's similarities of all pairs, float32 (layers, pairs).

        None if some are missing.
        """
        return self._similarities.whole(key)

    def baseline_similarities(self) -> NDArray[np.float32] | None:
        """Return the baseline's similarities; as `similarities`, and the last row is the last layer."""
        return self._similarities.whole(self._baseline.key)

    def _new_schedule(
        self, configurations: Sequence[Configuration], kept: Collection[ConfigurationKey]
    ) -> Schedule:
        return Schedule(
            self._study, self._similarities, configurations, kept, self._stopping, self._sentences
        )

    def _work(self, thread: int) -> None:
        """Score configurations until nothing is left; `thread` is the index of this thread."""
        claims = self._study.claims(thread)
        try:
            while not self._stopped.is_set():
                missing = self._missing()
                if not missing:
                    return
                claimed = claims.claim(list(missing), self._fair_share(len(missing)))
                if not claimed:
                    time.sleep(POLL)
                with self._lock:
                    self._study.refresh()
                for claim in claimed:
                    configuration, size = missing[claim]
                    # Another worker may have scored it between looking and claiming.
                    is_missing = self._study.outcome(configuration.key, size) is None
                    if is_missing and not self._stopped.is_set():
                        self._score(configuration, size)
        except BaseException:
            self._stopped.set()
            raise
        finally:
            claims.close()

    def _fair_share(self, missing: int) -> int:
        """Return how many to claim: few where few are left, one where each may be the last one."""
        if self._stopping.is_limited:
            return 1
        return max(1, min(MAX_CLAIMED, missing // (2 * self._pair_encoder.encoder.concurrency)))

    def _missing(self) -> dict[str, tuple[Configuration, int]]:
        """Return what to score next, by the name of its claim; nothing when the race is over."""
        with self._lock:
            self._study.refresh()
            self._check_baseline()
            if self._similarities.order is None:
                if not self._similarities.begin():
                    return self._by_claim([(self._baseline.key, self._pairs)])
                outcome = self._study.outcome(self._baseline.key, self._pairs)
                if self._report and outcome:
                    self._report(self._baseline, 0, outcome.scores)
            return self._by_claim(self._schedule.missing())

    def _by_claim(
        self, missing: Iterable[tuple[ConfigurationKey, int]]
    ) -> dict[str, tuple[Configuration, int]]:
        configurations = ((self._configurations[key], size) for key, size in missing)
        return {
            f"{configuration.text}@{size}": (configuration, size)
            for configuration, size in configurations
        }

    def _check_baseline(self) -> None:
        if reason := self._study.failures.get(self._baseline.key):
            raise UserError(
                "the prompt without demonstrations could not be scored on these pairs because:"
                f" {reason}"
            )

    def _score(self, configuration: Configuration, size: int) -> None:
        """Compute what is missing of a configuration up to a rung, and write it."""
        key = configuration.key
        is_baseline = key == self._baseline.key
        with self._lock:
            known = self._similarities.known(key, size)
        missing = np.arange(size) if known is None else np.flatnonzero(np.isnan(known[0]))
        order = self._similarities.order_of(key)
        indices = order[missing].tolist()
        layers = list(dict.fromkeys([*self._layers, self._last])) if is_baseline else self._layers
        started = time.monotonic()
        new, failure = self._compute(configuration, indices, layers)
        seconds = time.monotonic() - started
        scores: dict[int, float] = {}
        layer = 0
        if not failure:
            whole = np.empty((len(layers), size), dtype=np.float32) if known is None else known
            whole[:, missing] = new
            if is_baseline:
                # It is scored on all pairs before there is an order; its rungs are those of the others.
                order = self._objective.order(whole[-1])
                whole = whole[:, order]
            scores, layer, failure = self._similarities.judge(whole[: len(self._layers)], order)
            if is_baseline and not failure:
                # Every gain is over the baseline's last layer.
                *_, failure = self._similarities.judge(whole[-1:], order)
        if failure:
            logger.warning("candidate %s could not be scored: %s", configuration.text, failure)
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

    def _compute(
        self, configuration: Configuration, indices: list[int], layers: list[int]
    ) -> tuple[NDArray[np.float32], str]:
        """Return similarities of some pairs, float32 (layers, pairs), or why there are none."""
        nothing = np.empty((len(layers), 0), dtype=np.float32)
        if not indices:
            return nothing, ""
        try:
            return self._pair_encoder.similarities(configuration.prompt, indices, layers), ""
        except (DeviceLostError, OutOfMemoryError):
            # The prompt is not the cause; it is scored when the search is resumed.
            raise
        except UserError as error:
            return nothing, str(error)
