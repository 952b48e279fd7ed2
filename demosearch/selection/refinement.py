"""Refinement of the best prompt: more demonstrations, more prompts, centering.

A step is taken only if the 95% interval of its gain is above 0.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
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
from demosearch.selection.ensemble import POOL, InnerProducts, greedy, inner_products
from demosearch.selection.finalists import Finalists, step_record
from demosearch.selection.objective import Choose, Objective
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.race import Race
from demosearch.selection.rungs import planned_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# The number of prompts that get another demonstration, and of candidates that each of them gets.
BEAM = 3
WIDTH = 16


class Refinement:
    """The prompts that are chosen so far, and the steps that led to them.

    Attributes:
        prompts: the chosen prompts; the embeddings of several are averaged.
        singles: the finalists of the race of single candidates.
        finalists: the finalists among which the first prompt was chosen.
        steps: the gain of each step.
        sentences: number of sentences encoded outside the race.
        seconds: time spent outside the race.

    Args:
        race: finished with the configurations.
        configurations: all configurations of one candidate or none.
        layers: indices of the scored layers.
        pair_encoder: the pairs and the encoder.
        progress: the bar, extended by the work of each step.
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
        self._scored = list(configurations)
        self._candidates = [
            configuration for configuration in configurations if configuration.prompt.demonstrations
        ]
        self._layers = layers
        self._pair_encoder = pair_encoder
        self._dev = pair_encoder.pairs
        self._progress = progress
        self.singles = self.finalists = self._finalists(configurations)
        self.prompts: tuple[Prompt, ...] = (self.finalists.best,)
        # Of an ensemble or centered embeddings; None: those of the best finalist.
        self._similarities: NDArray[np.float32] | None = None
        self.steps = [self.finalists.step_after(None)]
        # How an ensemble is chosen on some pairs, and among how many prompts.
        self._choose: Choose | None = None
        self._among: int | None = None
        self.sentences = 0
        self.seconds = 0.0

    def add_demonstrations(
        self, factory: ConfigurationFactory, shots: int, rungs: Sequence[int]
    ) -> int:
        """Add demonstrations to the prompt and return how many configurations raced.

        Each of the best prompts is extended by each of the leading candidates, at the front and at the
        end.

        Args:
            factory: makes the configurations.
            shots: maximum number of demonstrations in the prompt.
            rungs: sizes of the rungs.
        """
        raced = 0
        while (count := len(self.prompts[0].demonstrations)) < shots:
            extended = self._extended(factory)
            planned = planned_pairs(len(extended), rungs)
            stage = f"prompts of {count + 1} demonstrations"
            if not extended or not self._race.allows_pairs(stage, planned):
                break
            self._progress.add_to_total(planned - len(self._dev))
            try:
                self._race.run(extended)
                finalists = self._finalists(extended)
            except (DeviceLostError, OutOfMemoryError):
                raise
            except UserError as error:
                # The result of the steps before is kept.
                logger.warning("%s are left out: %s", stage, error)
                break
            raced += len(extended)
            self._scored = list(dict.fromkeys([*self._scored, *extended]))
            step = finalists.step_after(self.finalists)
            if not _is_significant(step):
                break
            self.finalists, self.prompts = finalists, (finalists.best,)
            self.steps.append(step)
        return raced

    def _extended(self, factory: ConfigurationFactory) -> list[Configuration]:
        beam = [
            configuration
            for configuration in self.finalists.configurations
            if configuration.prompt.demonstrations
        ][:BEAM]
        return factory.longer(beam, self._race.leaders(self._candidates, WIDTH))

    def add_prompts(self, size: int, folder: Path) -> None:
        """Average the prompt with others, the most helpful first.

        Args:
            size: maximum number of prompts.
            folder: the folder of the search.
        """
        pool = self._ensemble_pool(max(POOL, 2 * size))
        sentences = len(pool) * len(self._dev.sentences())
        if not self._race.allows("the ensemble", sentences):
            return
        self._progress.add_to_total(len(pool) * len(self._dev))
        products, self.seconds = inner_products(self._pair_encoder, pool, folder, self._progress)
        self.sentences = sentences
        objective = self._pair_encoder.objective
        for smaller, members in pairwise(greedy(products, objective, size)):
            similarities, before = map(products.similarities, (members, smaller))
            prompts = tuple(pool[member] for member in members)
            step = step_record(similarities, before, objective, prompts)
            if not _is_significant(step):
                break
            self.steps.append(step)
            self.prompts, self._similarities = prompts, similarities
        if len(self.prompts) > 1:
            self._choose = _ensemble_choice(products, objective, len(self.prompts))
            self._among = len(pool)

    def _ensemble_pool(self, number: int) -> list[Prompt]:
        """Return the chosen prompt and other leading prompts that it can be averaged with."""
        width = self._pair_encoder.encoder.width
        others = [
            prompt
            for prompt in self.all_scored().prompts(number)
            # OPT-350M's last layer is narrower than the others, so that they have no mean.
            if prompt not in self.prompts and width(prompt.layer) == width(self.prompts[0].layer)
        ]
        return [*self.prompts, *others][:number]

    def subtract_mean(self, texts: Sequence[str], folder: Path) -> NDArray[np.float32] | None:
        """Subtract the mean embedding of unlabeled texts if that improves the score.

        Args:
            texts: at least one.
            folder: the folder of the search; keeps the mean.

        Returns:
            The mean, float32 (width,); None if the gain is not significant.
        """
        sentences = len(self.prompts) * (len(texts) + len(self._dev.sentences()))
        if not self._race.allows("centering", self.sentences + sentences):
            return None
        path = folder / "centers" / f"{self._pair_encoder.cache_key(self.prompts, *texts)}.npz"
        if not path.exists():
            self._write_centered(texts, path)
        with np.load(path, allow_pickle=False) as file:
            mean, similarities = file["mean"], file["similarities"]
            self.seconds += float(file["seconds"])
        self.sentences += sentences
        before = (
            self.finalists.best_similarities if self._similarities is None else self._similarities
        )
        step = step_record(similarities, before, self._pair_encoder.objective, self.prompts)
        step = step.model_copy(update={"centered": True})
        if not _is_significant(step):
            return None
        self.steps.append(step)
        self._similarities = similarities
        return np.asarray(mean, dtype=np.float32)

    def _write_centered(self, texts: Sequence[str], path: Path) -> None:
        started = time.monotonic()
        embeddings = self._pair_encoder.embeddings(texts, self.prompts)
        mean = embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
        similarities = self._pair_encoder.ensemble_similarities(self.prompts, mean)
        with atomic_write(path, "wb") as file:
            seconds = time.monotonic() - started
            np.savez(file, mean=mean, similarities=similarities, seconds=seconds)

    def all_scored(self) -> Finalists:
        """Return all configurations that were scored on all pairs, of any number of demonstrations."""
        return self._finalists(self._scored)

    def dev_record(self) -> DevRecord:
        """Return the score of the chosen prompts, compared with the baseline and the other finalists."""
        return self.finalists.dev_record(self._similarities)

    def estimate(self) -> EstimateRecord | None:
        """Return the gain corrected for the choice.

        None if a small budget left one finalist of several candidates, as there is no choice to repeat.
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


def _ensemble_choice(products: InnerProducts, objective: Objective, size: int) -> Choose:
    """Return a function that chooses an ensemble on some pairs, for `Objective.split_estimate`."""

    def choose(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return products.similarities(greedy(products, objective, size, rows)[-1])

    return choose


def _is_significant(step: StepRecord) -> bool:
    """Whether the 95% interval of a step's gain is above 0; reports a step that is left out."""
    low, high = step.gain_ci95
    if low <= 0:
        logger.info(
            "left out: %d prompts with %d demonstrations%s; their gain of %+.2f [%+.2f, %+.2f] is not"
            " significant",
            step.prompts,
            step.demonstrations,
            ", centered" if step.centered else "",
            step.gain,
            low,
            high,
        )
    return low > 0
