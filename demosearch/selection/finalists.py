"""Finalists: the configurations that were scored on all pairs, and how they compare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demosearch._common.files import atomic_write
from demosearch.demonstrations_file import (
    RANKING_LENGTH,
    DevRecord,
    LayerRecord,
    Ranked,
    SetRecord,
)
from demosearch.errors import UserError
from demosearch.prompt import Prompt
from demosearch.selection.configurations import Configuration, ConfigurationKey
from demosearch.selection.objective import Choose, Objective
from demosearch.selection.race import Race
from demosearch.selection.steps import scores_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Finalists:
    """The configurations that were scored on all pairs, best first.

    Attributes:
        configurations: the configurations.
        layers: indices of the scored layers.
        scores: scores in the objective's metric, (configurations, layers); nan where there is no score.
        similarities: cosine similarities, float32 (configurations, layers, pairs).
        baseline: cosine similarities without demonstrations, float32 (layers, pairs); the last row is
            the last layer.
        objective: the pairs and their metric.
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
        """Return the finalists of a race among some configurations.

        Args:
            race: finished with the configurations.
            configurations: the configurations; the baseline may be one of them.
            layers: indices of the scored layers.
            objective: the pairs and their metric.

        Raises:
            UserError: no configuration could be scored.
        """
        scored = [
            (configuration, race.similarities(configuration.key))
            for configuration in configurations
        ]
        complete = [(configuration, rows) for configuration, rows in scored if rows is not None]
        baseline = race.baseline_similarities()
        if not complete or baseline is None:
            raise UserError("no candidate could be scored; see the column 'failure' in trials.csv")
        # The baseline has the last layer in addition.
        similarities = np.stack([rows[: len(layers)] for _, rows in complete])
        # One configuration at a time: ranking all at once takes many times their memory.
        scores = np.stack([objective.score(rows) for rows in similarities])
        order = np.argsort(-np.nanmax(scores, axis=1), kind="stable")
        return cls(
            [complete[index][0] for index in order],
            layers,
            scores[order],
            similarities[order],
            baseline,
            objective,
        )

    @property
    def best(self) -> Prompt:
        """The best prompt, at its best layer."""
        return replace(self.configurations[0].prompt, layer=self.layers[self._best_layer])

    def prompts(self, number: int) -> list[Prompt]:
        """Return the leading prompts, each at its best layer."""
        best_layers = np.nanargmax(self.scores[:number], axis=1)
        return [
            replace(configuration.prompt, layer=self.layers[row])
            for configuration, row in zip(self.configurations, best_layers, strict=False)
        ]

    @property
    def _best_layer(self) -> int:
        return int(np.nanargmax(self.scores[0]))

    @property
    def best_similarities(self) -> NDArray[np.float32]:
        """The best prompt's similarities, float32 (pairs,)."""
        best: NDArray[np.float32] = self.similarities[0, self._best_layer]
        return best

    def among(self, allowed: Callable[[Prompt], bool]) -> Finalists:
        """Return those of the finalists whose prompt is allowed; at least one must be."""
        kept = [
            index
            for index, configuration in enumerate(self.configurations)
            if allowed(configuration.prompt)
        ]
        return replace(
            self,
            configurations=[self.configurations[index] for index in kept],
            scores=self.scores[kept],
            similarities=self.similarities[kept],
        )

    def ranking(self, keys: Collection[ConfigurationKey] | None = None) -> list[Ranked]:
        """Return the leading configurations, or those with some keys, each with its best layer's score."""
        indices = range(len(self.configurations))
        if keys is None:
            return [self._ranked(index) for index in indices[:RANKING_LENGTH]]
        return [self._ranked(index) for index in indices if self.configurations[index].key in keys]

    def _ranked(self, index: int) -> Ranked:
        configuration = self.configurations[index]
        row = int(np.nanargmax(self.scores[index]))
        return Ranked(
            id=configuration.text,
            **configuration.describe(),
            tokens=configuration.tokens,
            layer=self.layers[row],
            **scores_of(self.objective, self.similarities[index, row]),
        )

    def save(self, path: Path, baseline: Configuration) -> Path:
        """Write all similarities, float16 and compressed, and return the path.

        The file holds `similarities` (configurations, layers, pairs), of which the first row is the
        baseline, the configurations' `names`, the `layers`, and the `dev_sha256` of the pairs.

        Args:
            path: the file to write.
            baseline: the configuration without demonstrations.
        """
        others = [
            (configuration.text, rows)
            for configuration, rows in zip(self.configurations, self.similarities, strict=True)
            if configuration.key != baseline.key
        ]
        without = self.baseline[: len(self.layers)]
        with atomic_write(path, "wb") as file:
            np.savez_compressed(
                file,
                similarities=np.stack([without, *(rows for _, rows in others)]).astype(np.float16),
                names=np.array([baseline.text, *(name for name, _ in others)]),
                layers=np.array(self.layers),
                dev_sha256=np.array(self.objective.pairs.sha256),
            )
        return path

    def dev_record(self, chosen: NDArray[np.float32] | None = None) -> DevRecord:
        """Return the score of the chosen prompts, compared with the baseline and the other finalists.

        Args:
            chosen: similarities under the chosen prompts, float32 (pairs,), if they are not the best
                finalist; all finalists are then the others.
        """
        best_layers = np.nanargmax(self.scores[:RANKING_LENGTH], axis=1)
        others = [layers[row] for layers, row in zip(self.similarities, best_layers, strict=False)]
        names = [configuration.text for configuration in self.configurations[:RANKING_LENGTH]]
        if chosen is None:
            chosen, others, names = others[0], others[1:], names[1:]
        systems = [self.baseline[-1], *others]
        gain, *leads = self.objective.intervals(chosen, systems)
        dev = self.objective.pairs
        return DevRecord(
            name=dev.name,
            pairs=len(dev),
            sha256=dev.sha256,
            sets=[
                SetRecord(name=pairs.name, pairs=len(pairs), sha256=pairs.sha256)
                for pairs in dev.sets
            ]
            or None,
            **scores_of(self.objective, chosen),
            **scores_of(self.objective, self.baseline[-1], "baseline_"),
            gain_ci95=gain,
            runner_up_ci95=leads[0] if leads else None,
            indistinguishable=[
                name for name, (low, _) in zip(names, leads, strict=True) if low <= 0
            ],
        )

    def choice(self) -> Choose:
        """Return how the best configuration and layer are chosen on some pairs."""
        systems = self.similarities.reshape(-1, len(self.objective.pairs))
        return self.objective.best_of(systems[np.isfinite(self.scores.ravel())])

    def layer_curve(self) -> list[LayerRecord]:
        """Return the score of the best prompt and of the baseline at every layer."""
        rows = zip(self.layers, self.similarities[0], self.baseline, strict=False)
        return [
            LayerRecord(
                layer=layer,
                **scores_of(self.objective, best),
                **scores_of(self.objective, baseline, "baseline_"),
            )
            for layer, best, baseline in rows
        ]
