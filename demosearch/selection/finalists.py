"""What a race left: the prompts that were scored on all pairs, and how they stand to each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import DevRecord, EstimateRecord, LayerRecord, Ranked, StepRecord
from demosearch.errors import UserError
from demosearch.prompt import Prompt
from demosearch.selection.entries import BASELINE, Entry
from demosearch.selection.race import Race
from demosearch.selection.statistics import (
    best_on,
    gain_interval,
    gain_intervals,
    spearman,
    split_estimate,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANKING_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Finalists:
    """The entries that were scored on all pairs, best first.

    Attributes:
        entries: the entries.
        layers: that were scored.
        scores: Spearman x 100, (entries, layers); nan where all similarities are equal.
        similarities: float32 (entries, layers, pairs).
        baseline: without demonstration, float32 (layers, pairs), the last layer last.
        dev: the pairs.
        seed: of the resampling.
    """

    entries: list[Entry]
    layers: list[int]
    scores: NDArray[np.float64]
    similarities: NDArray[np.float32]
    baseline: NDArray[np.float32]
    dev: Pairs
    seed: int

    @classmethod
    def of(
        cls, race: Race, entries: Sequence[Entry], layers: list[int], dev: Pairs, seed: int
    ) -> Finalists:
        """Return what a race left of its entries.

        Raises:
            UserError: nothing could be scored.
        """
        found = [(entry, race.similarities(entry.name)) for entry in entries]
        whole = [(entry, each) for entry, each in found if each is not None]
        baseline = race.similarities(BASELINE)
        if not whole or baseline is None:
            raise UserError("no candidate could be scored; see the column 'failure' of trials.csv")
        scores = np.array([_scores(each, dev) for _, each in whole])
        order = np.argsort(-np.nanmax(scores, axis=1), kind="stable")
        return cls(
            [whole[place][0] for place in order],
            layers,
            scores[order],
            np.stack([whole[place][1] for place in order]),
            baseline,
            dev,
            seed,
        )

    @property
    def best(self) -> Prompt:
        """The best prompt, at its best layer."""
        return replace(self.entries[0].prompt, layer=self.layers[self._row])

    def prompts(self, number: int) -> list[Prompt]:
        """Return the leading prompts, each at its best layer."""
        rows = np.nanargmax(self.scores[:number], axis=1)
        return [
            replace(entry.prompt, layer=self.layers[row])
            for entry, row in zip(self.entries, rows, strict=False)
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
        """Return the leading entries, or those of some names, each with its best layer's score."""
        rows = list(zip(self.entries, self.scores, strict=True))
        if names is None:
            rows = rows[:RANKING_LENGTH]
        else:
            rows = [(entry, scores) for entry, scores in rows if entry.name in names]
        return [
            Ranked(
                id=entry.name,
                **entry.describe(),
                spearman=float(np.nanmax(scores)),
                layer=self.layers[int(np.nanargmax(scores))],
            )
            for entry, scores in rows
        ]

    def dev_record(self, together: NDArray[np.float32] | None = None) -> DevRecord:
        """Return the choice's score, and how it stands to the baseline and to the others.

        Args:
            together: similarities of an ensemble, float32 (pairs,), if that is the choice; all
                entries are then the others.
        """
        rows = np.nanargmax(self.scores[:RANKING_LENGTH], axis=1)
        others = [each[row] for each, row in zip(self.similarities, rows, strict=False)]
        names = [entry.name for entry in self.entries[:RANKING_LENGTH]]
        if together is None:
            together, others, names = others[0], others[1:], names[1:]
        systems = [self.baseline[-1], *others]
        gain, *ahead = gain_intervals(together, systems, self.dev.scores, self.seed)
        return DevRecord(
            name=self.dev.name,
            pairs=len(self.dev),
            sha256=self.dev.sha256,
            spearman=spearman(together, self.dev.scores),
            baseline_spearman=spearman(self.baseline[-1], self.dev.scores),
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
                among entries and layers.
            among: how many prompts it is chosen among.
        """
        if choose is None:
            systems = self.similarities.reshape(-1, len(self.dev))
            choose = best_on(systems[np.isfinite(self.scores.ravel())], self.dev.scores)
        gain, interval = split_estimate(choose, self.baseline[-1], self.dev.scores, self.seed)
        return EstimateRecord(
            method="choice on a random half of the pairs, gain on the other half, repeated",
            gain=gain,
            ci95=interval,
            candidates=among or len(self.entries),
        )

    def layer_curve(self) -> list[LayerRecord]:
        """Return the score of the best prompt and of the baseline at every layer."""
        baseline = _scores(self.baseline, self.dev)
        rows = zip(self.layers, self.scores[0], baseline, strict=False)
        return [
            LayerRecord(layer=layer, spearman=_or_none(score), baseline_spearman=_or_none(without))
            for layer, score, without in rows
        ]

    def step_after(self, before: Finalists | None) -> StepRecord:
        """Return what the best prompt gains over the one before it, or over the baseline."""
        without = before.best_similarities if before else self.baseline[-1]
        return step(self.best_similarities, without, self.dev, self.seed, [self.best])


def step(
    ours: NDArray[np.float32],
    before: NDArray[np.float32],
    dev: Pairs,
    seed: int,
    prompts: Sequence[Prompt],
) -> StepRecord:
    """Return what some prompts gain over what was there before, by the similarities of both."""
    score = spearman(ours, dev.scores)
    return StepRecord(
        prompts=len(prompts),
        demonstrations=sum(len(prompt.demonstrations) for prompt in prompts),
        spearman=score,
        gain=round(score - spearman(before, dev.scores), 6),
        gain_ci95=gain_interval(ours, before, dev.scores, seed),
    )


def _scores(similarities: NDArray[np.float32], dev: Pairs) -> NDArray[np.float64]:
    return np.array([spearman(each, dev.scores) for each in similarities])


def _or_none(score: float) -> float | None:
    return float(score) if np.isfinite(score) else None
