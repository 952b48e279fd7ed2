"""From the best demonstration to the best prompts: more demonstrations, more prompts, centering.

Every step is taken only if it gains more than its interval leaves in doubt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demosearch._common.files import atomic_write
from demosearch._common.progress import Bar
from demosearch.demonstrations_file import DevRecord, EstimateRecord, StepRecord
from demosearch.errors import DeviceLostError, OutOfMemoryError, UserError
from demosearch.prompt import Prompt
from demosearch.selection.configurations import Configuration, ConfigurationFactory
from demosearch.selection.ensemble import POOL, greedy, products
from demosearch.selection.finalists import Finalists, step
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.race import Race
from demosearch.selection.rungs import planned_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# How many prompts are extended by one more demonstration, and by how many candidates each.
BEAM = 3
WIDTH = 16


class Refinement:
    """What is chosen so far.

    Attributes:
        prompts: the chosen ones; several are averaged.
        singles: the candidates by themselves that were scored on all pairs.
        finalists: those among which the first prompt was chosen.
        steps: what each step brought.
        sentences: encoded outside the race.
        seconds: that took.

    Args:
        race: finished with the configurations.
        configurations: every candidate by itself.
        layers: that are scored.
        pair_encoder: the pairs and the encoder.
        progress: told of what comes to the way.
    """

    def __init__(
        self,
        race: Race,
        configurations: Sequence[Configuration],
        layers: list[int],
        pair_encoder: PairEncoder,
        progress: Bar,
    ) -> None:
        self._race = race
        self._everyone = list(configurations)
        self._candidates = [
            configuration for configuration in configurations if configuration.prompt.demonstrations
        ]
        self._layers = layers
        self._pair_encoder = pair_encoder
        self._dev = pair_encoder.pairs
        self._progress = progress
        self._together: NDArray[np.float32] | None = None
        self._choose: Callable[[NDArray[np.intp]], NDArray[np.float32]] | None = None
        self.singles = self.finalists = self._finalists(configurations)
        self.prompts: tuple[Prompt, ...] = (self.finalists.best,)
        self.steps = [self.finalists.step_after(None)]
        self._among: int | None = None
        self.sentences = 0
        self.seconds = 0.0

    def lengthen(self, factory: ConfigurationFactory, shots: int, rungs: Sequence[int]) -> int:
        """Add demonstrations to the prompt, up to so many, and return how many prompts raced.

        The best prompts are extended by each of the leading candidates, in front and behind.
        """
        raced = 0
        while (found := len(self.prompts[0].demonstrations)) < shots:
            leading = self._race.leaders(self._candidates, WIDTH)
            beam = [
                configuration
                for configuration in self.finalists.configurations
                if configuration.prompt.demonstrations
            ][:BEAM]
            more = factory.longer(beam, leading)
            planned = planned_pairs(len(more), rungs)
            stage = f"prompts of {found + 1} demonstrations"
            if not more or not self._race.allows_pairs(stage, planned):
                break
            self._progress.add_to_total(planned - len(self._dev))
            try:
                self._race.run(more)
                longer = self._finalists(more)
            except (DeviceLostError, OutOfMemoryError):
                raise
            except UserError as error:
                # What was found before is worth more than nothing.
                logger.warning("%s are left out: %s", stage, error)
                break
            raced += len(more)
            self._everyone = list(dict.fromkeys([*self._everyone, *more]))
            further = longer.step_after(self.finalists)
            if not _pays(further):
                break
            self.finalists, self.prompts = longer, (longer.best,)
            self.steps.append(further)
        return raced

    def combine(self, most: int, folder: Path) -> None:
        """Add prompts to the one, up to so many in all, the most helpful first.

        Args:
            most: prompts in all.
            folder: of the search.
        """
        width = self._pair_encoder.encoder.width
        looked_at = max(POOL, 2 * most)
        others = [
            each
            for each in self.everyone().prompts(looked_at)
            # OPT-350M's last layer is narrower than the others, and there is no mean of the two.
            if each not in self.prompts and width(each.layer) == width(self.prompts[0].layer)
        ]
        pool = [*self.prompts, *others][:looked_at]
        cost = len(pool) * len(self._dev.sentences())
        if not self._race.allows("the ensemble", cost):
            return
        self._progress.add_to_total(len(pool) * len(self._dev))
        found, self.seconds = products(self._pair_encoder, pool, folder, self._progress)
        self.sentences = cost
        objective = self._pair_encoder.objective
        for before, members in pairwise(greedy(found, objective, most)):
            ours, theirs = (found.similarities(each) for each in (members, before))
            prompts = tuple(pool[one] for one in members)
            further = step(ours, theirs, objective, prompts)
            if not _pays(further):
                break
            self.steps.append(further)
            self.prompts, self._together = prompts, ours
        size = len(self.prompts)
        if size > 1:
            self._choose = lambda rows: found.similarities(greedy(found, objective, size, rows)[-1])
            self._among = len(pool)

    def center(self, texts: Sequence[str], folder: Path) -> NDArray[np.float32] | None:
        """Subtract the mean embedding of unlabeled texts, and return it; None if that does not pay.

        Args:
            texts: as many as there are.
            folder: of the search; keeps what was computed.
        """
        dev = self._dev
        cost = len(self.prompts) * (len(texts) + len(dev.sentences()))
        if not self._race.allows("centering", self.sentences + cost):
            return None
        ours = self._together if self._together is not None else self.finalists.best_similarities
        kept = folder / "centers" / f"{self._pair_encoder.key(self.prompts, *texts)}.npz"
        if not kept.exists():
            started = time.monotonic()
            mean = self._pair_encoder.embeddings(texts, self.prompts).mean(axis=0, dtype=np.float64)
            mean = mean.astype(np.float32)
            found = self._pair_encoder.similarities_under(self.prompts, mean)
            with atomic_write(kept, "wb") as file:
                seconds = time.monotonic() - started
                np.savez(file, mean=mean, similarities=found, seconds=seconds)
        with np.load(kept, allow_pickle=False) as loaded:
            mean, found = loaded["mean"], loaded["similarities"]
            self.seconds += float(loaded["seconds"])
        self.sentences += cost
        further = step(found, ours, self._pair_encoder.objective, self.prompts)
        further = further.model_copy(update={"centered": True})
        if not _pays(further):
            return None
        self.steps.append(further)
        self._together = found
        return np.asarray(mean, dtype=np.float32)

    def everyone(self) -> Finalists:
        """Return all that was scored on all pairs, whatever the number of demonstrations."""
        return self._finalists(self._everyone)

    def dev_record(self) -> DevRecord:
        """Return the score of what is chosen, and how it stands to the baseline and to others."""
        return self.finalists.dev_record(self._together)

    def estimate(self) -> EstimateRecord | None:
        """Return the gain corrected for the choice; None where one alone was scored on all pairs.

        That is what a budget leaves that is soon spent: there is nothing to choose among once more.
        """
        if self._choose is None and len(self.finalists.configurations) == 1 < len(self._candidates):
            return None
        estimate = self.finalists.estimate(self._choose, self._among)
        if self.steps[-1].centered:
            method = f"{estimate.method}; what centering gains is not in it"
            return estimate.model_copy(update={"method": method})
        return estimate

    def _finalists(self, configurations: Sequence[Configuration]) -> Finalists:
        return Finalists.of(self._race, configurations, self._layers, self._pair_encoder.objective)


def _pays(further: StepRecord) -> bool:
    """Whether a step gains more than its interval leaves in doubt."""
    low, high = further.gain_ci95
    if low <= 0:
        logger.info(
            "%d prompts with %d demonstrations%s would gain %+.2f [%+.2f, %+.2f], which is not sure",
            further.prompts,
            further.demonstrations,
            ", centered," if further.centered else "",
            further.gain,
            low,
            high,
        )
    return low > 0
