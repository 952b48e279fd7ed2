"""Steps: what each thing that a search chooses adds to the score.

The choices are made in an order: layer, template, demonstrations, post-processing, averaging. Each step is
compared with the best that could be had without it, so the gains of the steps add up to the whole gain.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch.demonstrations_file import StepRecord
from demosearch.demonstrations_records import Part
from demosearch.demonstrations_summary import step_in_words
from demosearch.metrics.metric import SPEARMAN
from demosearch.metrics.similarity import averaged
from demosearch.postprocess import Postprocess
from demosearch.prompt import Prompt
from demosearch.selection.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class System:
    """One prompt or several, and what is done to the embeddings at the end.

    Attributes:
        prompts: the prompts, each at its layer; the normalized embeddings of several are averaged.
        postprocess: applied to the embeddings; None if nothing is.
    """

    prompts: tuple[Prompt, ...]
    postprocess: Postprocess | None = None

    def embeddings(self, states: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the embeddings of texts from their states under each prompt, each (texts, width)."""
        embeddings = averaged(states)
        return self.postprocess.apply(embeddings) if self.postprocess else embeddings


@dataclass(frozen=True, slots=True)
class Step:
    """A system that was chosen, and its similarities.

    Attributes:
        system: the system after this step.
        similarities: of all pairs, float32 (pairs,).
    """

    system: System
    similarities: NDArray[np.float32]


class Steps:
    """The steps of a search, in order.

    Attributes:
        objective: scores the steps.
        taken: the steps that were taken; the first one is the baseline, the last one the result.
        records: of all steps but the baseline, also of those that were left out.

    Args:
        objective: scores the steps.
        baseline: the prompt without demonstrations at the last layer.
        similarities: of the baseline, float32 (pairs,).
    """

    def __init__(
        self, objective: Objective, baseline: Prompt, similarities: NDArray[np.float32]
    ) -> None:
        self.objective = objective
        self.taken = [Step(System((baseline,)), similarities)]
        self.records: list[StepRecord] = []

    @property
    def chosen(self) -> Step:
        """The last step that was taken."""
        return self.taken[-1]

    def take(self, part: Part, system: System, similarities: NDArray[np.float32]) -> None:
        """Add a step."""
        self.records.append(self._record(part, system, similarities))
        self.taken.append(Step(system, similarities))

    def take_if_significant(
        self, part: Part, system: System, similarities: NDArray[np.float32]
    ) -> bool:
        """Add a step if the 95% interval of its gain is above 0; record it in any case."""
        record = self._record(part, system, similarities)
        low, high = record.gain_ci95
        if low > 0:
            self.records.append(record)
            self.taken.append(Step(system, similarities))
            return True
        logger.info(
            "left out: %s; its gain of %+.2f [%+.2f, %+.2f] is not significant",
            step_in_words(record),
            record.gain,
            low,
            high,
        )
        self.records.append(record.model_copy(update={"taken": False}))
        return False

    def _record(self, part: Part, system: System, similarities: NDArray[np.float32]) -> StepRecord:
        objective, before = self.objective, self.chosen.similarities
        gain = objective.score(similarities) - objective.score(before)
        first = system.prompts[0]
        return StepRecord(
            part=part,
            template=first.template.name,
            layer=first.layer,
            prompts=len(system.prompts),
            demonstrations=sum(len(prompt.demonstrations) for prompt in system.prompts),
            postprocess=system.postprocess.record.label if system.postprocess else None,
            **scores_of(objective, similarities),
            gain=round(float(gain), 6),
            gain_ci95=objective.interval(similarities, before),
        )


def scores_of(
    objective: Objective, similarities: NDArray[np.float32], prefix: str = ""
) -> dict[str, Any]:
    """Return Spearman's correlation, and the score if the metric is another; None for nan."""
    scores = {"spearman": objective.spearman(similarities)}
    if objective.metric != SPEARMAN:
        scores["score"] = objective.score(similarities)
    return {
        f"{prefix}{name}": float(score) if np.isfinite(score) else None
        for name, score in scores.items()
    }
