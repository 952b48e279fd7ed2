"""Refinement of the best prompt: more demonstrations, more prompts, post-processing.

A step is taken only if the 95% interval of its gain is above 0.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demosearch._common.progress import Bar
from demosearch.demonstrations_file import DevRecord, EstimateRecord
from demosearch.errors import DeviceLostError, OutOfMemoryError, UserError
from demosearch.postprocess import Kind, Unlabeled
from demosearch.prompt import Prompt
from demosearch.selection.configurations import Configuration, ConfigurationFactory
from demosearch.selection.ensemble import POOL, InnerProducts, greedy, inner_products
from demosearch.selection.finalists import Finalists
from demosearch.selection.objective import Choose, Objective
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.postprocessing import LEADERS, PostprocessChoice
from demosearch.selection.race import Race
from demosearch.selection.rungs import planned_pairs
from demosearch.selection.steps import Steps, System

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from demosearch.demonstrations_records import Part

logger = logging.getLogger(__name__)

# The number of prompts that get another demonstration, and of candidates that each of them gets.
BEAM = 3
WIDTH = 16


class Refinement:
    """The prompts that are chosen so far, and the steps that led to them.

    Attributes:
        steps: the gain of each step.
        singles: the finalists of the race of single candidates.
        finalists: the finalists among which the first prompt was chosen.
        sentences: number of sentences encoded outside the race.
        seconds: time spent outside the race.

    Args:
        race: finished with the configurations.
        configurations: the baseline, and all configurations of one candidate or none.
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
        self._objective = pair_encoder.objective
        self._dev = pair_encoder.pairs
        self._progress = progress
        self.singles = self.finalists = self._finalists(configurations)
        self.steps = self._first_steps(configurations[0].prompt)
        # How an ensemble or post-processing is chosen on some pairs, and among how many.
        self._choose: Choose | None = None
        self._among: int | None = None
        self.sentences = 0
        self.seconds = 0.0

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The chosen prompts; the embeddings of several are averaged."""
        return self.steps.chosen.system.prompts

    def _first_steps(self, baseline: Prompt) -> Steps:
        """Return the choice of layer, template and demonstration, one after the other."""
        finalists = self.finalists
        last = self._pair_encoder.encoder.resolve_layer(None)
        steps = Steps(self._objective, baseline, finalists.baseline[-1])
        if self._layers != [last]:
            own = finalists.among(lambda prompt: prompt == baseline)
            steps.take("layer", System((own.best,)), own.best_similarities)
        if len({configuration.prompt.template for configuration in finalists.configurations}) > 1:
            plain = finalists.among(lambda prompt: not prompt.demonstrations)
            steps.take("template", System((plain.best,)), plain.best_similarities)
        steps.take("demonstrations", System((finalists.best,)), finalists.best_similarities)
        return steps

    def add_demonstrations(
        self, factory: ConfigurationFactory, shots: int, rungs: Sequence[int]
    ) -> int:
        """Add demonstrations to the prompt and return how many configurations raced.

        Each of the best prompts is extended by each of the leading candidates, at the front and at the
        end. Longer prompts are tried even if the first demonstration that is added gains too little: two may
        gain enough.

        Args:
            factory: makes the configurations.
            shots: maximum number of demonstrations in the prompt.
            rungs: sizes of the rungs.
        """
        raced = 0
        longest = self.finalists
        for count in range(_demonstrations(longest), shots):
            extended = self._extended(factory, longest)
            planned = planned_pairs(len(extended), rungs)
            stage = f"prompts of {count + 1} demonstrations"
            if not extended or not self._race.allows_pairs(stage, planned):
                break
            self._progress.add_to_total(planned - len(self._dev))
            try:
                self._race.run(extended)
                longest = self._finalists(extended)
            except (DeviceLostError, OutOfMemoryError):
                raise
            except UserError as error:
                # The result of the steps before is kept.
                logger.warning("%s are left out: %s", stage, error)
                break
            raced += len(extended)
            self._scored = list(dict.fromkeys([*self._scored, *extended]))
            if self.steps.take_if_significant(
                "demonstrations", System((longest.best,)), longest.best_similarities
            ):
                self.finalists = longest
        return raced

    def _extended(self, factory: ConfigurationFactory, finalists: Finalists) -> list[Configuration]:
        beam = [
            configuration
            for configuration in finalists.configurations
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
        if not self._race.allows("the ensemble", self.sentences + sentences):
            return
        self._progress.add_to_total(len(pool) * len(self._dev))
        products, seconds = inner_products(self._pair_encoder, pool, folder, self._progress)
        self.sentences += sentences
        self.seconds += seconds
        for _, members in pairwise(greedy(products, self._objective, size)):
            system = System(tuple(pool[member] for member in members))
            if not self.steps.take_if_significant(
                "averaging", system, products.similarities(members)
            ):
                break
        if len(self.prompts) > 1:
            self._choose = _ensemble_choice(products, self._objective, len(self.prompts))
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

    def add_postprocess(
        self, kinds: Collection[Kind], unlabeled: Unlabeled, size: int, folder: Path
    ) -> bool:
        """Post-process the embeddings of the chosen prompt, or of another leading one, and of ensembles.

        Args:
            kinds: the kinds of post-processing to choose among.
            unlabeled: the texts for whitening.
            size: maximum number of prompts, whose embeddings are averaged before they are mapped.
            folder: the folder of the search; keeps the result.

        Returns:
            Whether post-processing is part of the chosen system.
        """
        (chosen,) = self.prompts
        others = [
            prompt
            for prompt in self.all_scored().prompts(LEADERS)
            if replace(prompt, layer=None) != replace(chosen, layer=None)
        ]
        prompts = [chosen, *others][:LEADERS]
        choice = PostprocessChoice(
            self._pair_encoder, prompts, self._layers, kinds, unlabeled, size
        )
        if not self._race.allows("post-processing", choice.sentences):
            return False
        choice.warn_if_few_texts()
        self._progress.add_to_total(choice.prompts * len(self._dev))
        choices, seconds = choice.run(folder, self._progress)
        self.sentences += choice.sentences
        self.seconds += seconds
        compared: list[NDArray[np.float32]] = []
        for best in choices:
            part: Part = "averaging" if compared else "postprocess"
            similarities = best.similarities[best.index]
            if not self.steps.take_if_significant(part, best.system, similarities):
                break
            compared.append(best.similarities)
        if not compared:
            return False
        systems = np.concatenate(compared)
        systems = systems[np.isfinite(self._objective.score(systems))]
        self._choose, self._among = self._objective.best_of(systems), len(systems)
        return True

    def all_scored(self) -> Finalists:
        """Return all configurations that were scored on all pairs, of any number of demonstrations."""
        return self._finalists(self._scored)

    def dev_record(self) -> DevRecord:
        """Return the score of the chosen prompts, compared with the baseline and the other finalists."""
        chosen = self.steps.chosen
        is_finalist = chosen.system == System((self.finalists.best,))
        return self.finalists.dev_record(None if is_finalist else chosen.similarities)

    def estimate(self) -> EstimateRecord | None:
        """Return the gain corrected for the choice.

        None if a small budget left one finalist of several candidates, as there is no choice to repeat,
        or if so few gold scores differ that no half of the pairs can be scored.
        """
        finalists = self.finalists
        with_demonstrations = [
            configuration
            for configuration in finalists.configurations
            if configuration.prompt.demonstrations
        ]
        if self._choose is None and len(with_demonstrations) == 1 < len(self._candidates):
            return None
        choose = self._choose or finalists.choice()
        split = self._objective.split_estimate
        whole = split(choose, finalists.baseline[-1])
        # What the demonstrations add is compared with the best prompt without them, before anything
        # else is added.
        plain = self.singles.among(lambda prompt: not prompt.demonstrations)
        of_demonstrations = split(finalists.choice(), plain.choice())
        if whole is None or of_demonstrations is None:
            logger.warning(
                "there is no corrected gain, because hardly any gold scores of the dev pairs differ"
            )
            return None
        gain, interval = whole
        demonstrations_gain, demonstrations_interval = of_demonstrations
        return EstimateRecord(
            method="choice on a random half of the pairs, gain on the other half, repeated",
            gain=gain,
            ci95=interval,
            demonstrations_gain=demonstrations_gain,
            demonstrations_ci95=demonstrations_interval,
            candidates=self._among or len(finalists.configurations),
        )

    def _finalists(self, configurations: Sequence[Configuration]) -> Finalists:
        return Finalists.of(self._race, configurations, self._layers, self._objective)


def _demonstrations(finalists: Finalists) -> int:
    """Return the number of demonstrations of the finalists' longest prompt."""
    return max(
        len(configuration.prompt.demonstrations) for configuration in finalists.configurations
    )


def _ensemble_choice(products: InnerProducts, objective: Objective, size: int) -> Choose:
    """Return a function that chooses an ensemble on some pairs, for `Objective.split_estimate`."""

    def choose(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return products.similarities(greedy(products, objective, size, rows)[-1])

    return choose
