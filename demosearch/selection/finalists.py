"""What a race left: the prompts that were scored on all pairs, and how they stand to each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch._common.files import atomic_write
from demosearch.demonstrations_file import (
    RANKING_LENGTH,
    DevRecord,
    EstimateRecord,
    LayerRecord,
    Ranked,
    SetRecord,
    StepRecord,
)
from demosearch.errors import UserError
from demosearch.metrics.metric import SPEARMAN
from demosearch.prompt import Prompt
from demosearch.selection.configurations import BASELINE, Configuration
from demosearch.selection.objective import Objective
from demosearch.selection.race import Race

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Finalists:
    """The configurations that were scored on all pairs, best first.

    Attributes:
        configurations: the configurations.
        layers: that were scored.
        scores: in the objective's metric, (configurations, layers); nan where there is none.
        similarities: float32 (configurations, layers, pairs).
        baseline: without demonstration, float32 (layers, pairs), the last layer last.
        objective: the pairs, and how they are judged.
    """

    configurations: list[Configuration]
    layers: list[int]
    scores: NDArray[np.float64]
    similarities: NDArray[np.float32]
    baseline: NDArray[np.float32]
    objective: Objective

    @classmethod
    def of(
        cls,
        race: Race,
        configurations: Sequence[Configuration],
        layers: list[int],
        objective: Objective,
    ) -> Finalists:
        """Return what a race left of its configurations.

        Raises:
            UserError: nothing could be scored.
        """
        found = [
            (configuration, race.similarities(configuration.name))
            for configuration in configurations
        ]
        whole = [(configuration, each) for configuration, each in found if each is not None]
        baseline = race.similarities(BASELINE)
        if not whole or baseline is None:
            raise UserError("no candidate could be scored; see the column 'failure' of trials.csv")
        similarities = np.stack([each for _, each in whole])
        # One after the other: ranking all at once would take many times their memory.
        scores = np.stack([objective.score(each) for each in similarities])
        order = np.argsort(-np.nanmax(scores, axis=1), kind="stable")
        return cls(
            [whole[place][0] for place in order],
            layers,
            scores[order],
            similarities[order],
            baseline,
            objective,
        )

    @property
    def best(self) -> Prompt:
        """The best prompt, at its best layer."""
        return replace(self.configurations[0].prompt, layer=self.layers[self._row])

    def prompts(self, number: int) -> list[Prompt]:
        """Return the leading prompts, each at its best layer."""
        rows = np.nanargmax(self.scores[:number], axis=1)
        return [
            replace(configuration.prompt, layer=self.layers[row])
            for configuration, row in zip(self.configurations, rows, strict=False)
        ]

    @property
    def _row(self) -> int:
        return int(np.nanargmax(self.scores[0]))

    @property
    def best_similarities(self) -> NDArray[np.float32]:
        """The best prompt's similarities, float32 (pairs,)."""
        best: NDArray[np.float32] = self.similarities[0, self._row]
        return best

    def ranking(self, names: Collection[str] | None = None) -> list[Ranked]:
        """Return the leading configurations, or those of some names, each with its best layer's score."""
        places = range(len(self.configurations))
        if names is None:
            return [self._ranked(place) for place in places[:RANKING_LENGTH]]
        return [self._ranked(place) for place in places if self.configurations[place].name in names]

    def _ranked(self, place: int) -> Ranked:
        row = int(np.nanargmax(self.scores[place]))
        similarities = self.similarities[place, row]
        return self._as_ranked(self.configurations[place], self.layers[row], similarities)

    def _as_ranked(
        self, configuration: Configuration, layer: int, similarities: NDArray[np.float32]
    ) -> Ranked:
        return Ranked(
            id=configuration.name,
            **configuration.describe(),
            tokens=configuration.tokens,
            layer=layer,
            **_scored(self.objective, similarities),
        )

    def save(self, path: Path, baseline: Configuration) -> Path:
        """Write all similarities, float16 and compressed, and return the file.

        It holds `similarities` (configurations, layers, pairs), the plain prompt first, the configurations' `names`,
        the `layers`, and the `dev_sha256` of the pairs.

        Args:
            path: the file.
            baseline: the prompt without demonstration.
        """
        without = self.baseline[: len(self.layers)]
        with atomic_write(path, "wb") as file:
            np.savez_compressed(
                file,
                similarities=np.stack([without, *self.similarities]).astype(np.float16),
                names=np.array(
                    [baseline.name, *(configuration.name for configuration in self.configurations)]
                ),
                layers=np.array(self.layers),
                dev_sha256=np.array(self.objective.pairs.sha256),
            )
        return path

    def dev_record(self, together: NDArray[np.float32] | None = None) -> DevRecord:
        """Return the choice's score, and how it stands to the baseline and to the others.

        Args:
            together: similarities of an ensemble, float32 (pairs,), if that is the choice; all
                configurations are then the others.
        """
        rows = np.nanargmax(self.scores[:RANKING_LENGTH], axis=1)
        others = [each[row] for each, row in zip(self.similarities, rows, strict=False)]
        names = [configuration.name for configuration in self.configurations[:RANKING_LENGTH]]
        if together is None:
            together, others, names = others[0], others[1:], names[1:]
        systems = [self.baseline[-1], *others]
        gain, *ahead = self.objective.intervals(together, systems)
        dev = self.objective.pairs
        return DevRecord(
            name=dev.name,
            pairs=len(dev),
            sha256=dev.sha256,
            sets=[SetRecord(name=one.name, pairs=len(one), sha256=one.sha256) for one in dev.sets]
            or None,
            **_scored(self.objective, together),
            **_scored(self.objective, self.baseline[-1], "baseline_"),
            gain_ci95=gain,
            runner_up_ci95=ahead[0] if ahead else None,
            indistinguishable=[
                name for name, (low, _) in zip(names, ahead, strict=True) if low <= 0
            ],
        )

    def estimate(
        self,
        choose: Callable[[NDArray[np.intp]], NDArray[np.float32]] | None = None,
        among: int | None = None,
    ) -> EstimateRecord:
        """Return the gain corrected for the choice.

        Args:
            choose: how an ensemble is chosen on some pairs, for `split_estimate`; None is the choice
                among configurations and layers.
            among: how many prompts it is chosen among.
        """
        if choose is None:
            systems = self.similarities.reshape(-1, len(self.objective.pairs))
            choose = self.objective.best_of(systems[np.isfinite(self.scores.ravel())])
        gain, interval = self.objective.split_estimate(choose, self.baseline[-1])
        return EstimateRecord(
            method="choice on a random half of the pairs, gain on the other half, repeated",
            gain=gain,
            ci95=interval,
            candidates=among or len(self.configurations),
        )

    def layer_curve(self) -> list[LayerRecord]:
        """Return the score of the best prompt and of the baseline at every layer."""
        rows = zip(self.layers, self.similarities[0], self.baseline, strict=False)
        return [
            LayerRecord(
                layer=layer,
                **_scored(self.objective, ours),
                **_scored(self.objective, without, "baseline_"),
            )
            for layer, ours, without in rows
        ]

    def step_after(self, before: Finalists | None) -> StepRecord:
        """Return what the best prompt gains over the one before it, or over the baseline."""
        without = before.best_similarities if before else self.baseline[-1]
        return step(self.best_similarities, without, self.objective, [self.best])


def step(
    ours: NDArray[np.float32],
    before: NDArray[np.float32],
    objective: Objective,
    prompts: Sequence[Prompt],
) -> StepRecord:
    """Return what some prompts gain over what was there before, by the similarities of both."""
    gain = objective.score(ours) - objective.score(before)
    return StepRecord(
        prompts=len(prompts),
        demonstrations=sum(len(prompt.demonstrations) for prompt in prompts),
        **_scored(objective, ours),
        gain=round(float(gain), 6),
        gain_ci95=objective.interval(ours, before),
    )


def _scored(
    objective: Objective, similarities: NDArray[np.float32], prefix: str = ""
) -> dict[str, Any]:
    """Return Spearman's correlation, and the score where the metric is another; None for nan."""
    found = {"spearman": objective.spearman(similarities)}
    if objective.metric != SPEARMAN:
        found["score"] = objective.score(similarities)
    return {
        f"{prefix}{name}": float(value) if np.isfinite(value) else None
        for name, value in found.items()
    }
