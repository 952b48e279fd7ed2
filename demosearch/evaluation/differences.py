"""Differences between two systems' scores, with confidence intervals by paired bootstrap."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from demosearch.evaluation.result import Evaluation
from demosearch.evaluation.tasks import TASKS
from demosearch.metrics.bootstrap import bootstrap_differences, interval
from demosearch.metrics.correlation import rank_correlation

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Difference(BaseModel):
    """The difference between a system's score and the base's score."""

    model_config = ConfigDict(extra="forbid")

    system: str
    base: str
    task: str = Field(
        description="a task; 'sts average'; 'sts mean of 4', if the systems share only some tasks"
    )
    difference: float = Field(description="x 100; positive if the system is better than the base")
    ci95: tuple[float, float] | None = Field(
        description="by paired bootstrap over pairs or examples; null if no resample has a score"
    )
    significant: bool = Field(description="the interval does not include 0")


def shared_tasks(base: Evaluation, other: Evaluation) -> list[str]:
    """Return the tasks that both systems have, in the order of `TASKS`; the user's tasks are last."""
    tasks = [task for task in base.result.tasks if task in other.result.tasks]
    order = {task: index for index, task in enumerate(TASKS)}
    return sorted(tasks, key=lambda task: order.get(task, len(order)))


def why_not_comparable(base: Evaluation, other: Evaluation, task: str) -> str:
    """Return why two systems' scores on a task cannot be compared; empty if they can."""
    ours, theirs = base.result.tasks[task], other.result.tasks[task]
    if ours.sha256 != theirs.sha256:
        return "the data differ"
    if ours.classifier != theirs.classifier:
        return f"the classifier is {theirs.classifier}, not {ours.classifier}"
    if ours.score is None or theirs.score is None:
        return "a score is missing"
    if task not in base.details or task not in other.details:
        return "the .npz file beside a result is missing"
    if len(base.details[task].values) < 2:
        return "it has only one example"
    return ""


def differences(
    evaluations: Sequence[Evaluation],
    names: Sequence[str],
    means: Mapping[str, Sequence[str]],
    *,
    resamples: int,
    seed: int,
) -> list[Difference]:
    """Return the differences of all systems from the first one, by task and by mean over tasks.

    Only tasks that both systems have, on the same data, are compared.

    Args:
        evaluations: of the systems.
        names: of the systems.
        means: tasks by the name of their mean; a mean is compared if all its tasks are.
        resamples: number of resamples of the bootstrap.
        seed: random seed of the bootstrap.
    """
    base, *others = evaluations
    comparable = [
        [task for task in shared_tasks(base, other) if not why_not_comparable(base, other, task)]
        for other in others
    ]
    resampled: list[dict[str, NDArray[np.float64]]] = [{} for _ in others]
    for task in base.result.tasks:
        indices = [index for index, tasks in enumerate(comparable) if task in tasks]
        if not indices:
            continue
        systems = [others[index] for index in indices]
        distributions = _resampled(base, systems, task, resamples=resamples, seed=seed)
        for index, values in zip(indices, distributions, strict=True):
            resampled[index][task] = values
    return [
        difference
        for index, other in enumerate(others)
        for difference in _of_system(
            (names[index + 1], names[0]),
            {task: _score(other, task) - _score(base, task) for task in comparable[index]},
            resampled[index],
            means,
        )
    ]


def _score(evaluation: Evaluation, task: str) -> float:
    score = evaluation.result.tasks[task].score
    if score is None:
        raise ValueError(f"{task} has no score")
    return score


def _resampled(
    base: Evaluation, others: Sequence[Evaluation], task: str, *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return the other systems' differences from the base on resampled pairs, (others, resamples)."""
    details = base.details[task]
    return -bootstrap_differences(
        details.values,
        [other.details[task].values for other in others],
        details.gold if len(details.gold) else None,
        rank_correlation if len(details.gold) else _accuracy,
        # The pairs of different tasks are drawn independently of each other.
        seed=[seed, zlib.crc32(task.encode())],
        resamples=resamples,
    )


def _accuracy(correct: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
    del gold
    return np.asarray(100 * correct.mean(axis=-1, dtype=np.float64))


def _of_system(
    names: tuple[str, str],
    points: Mapping[str, float],
    resampled: Mapping[str, NDArray[np.float64]],
    means: Mapping[str, Sequence[str]],
) -> list[Difference]:
    """Return one system's differences from the base.

    Args:
        names: of the system and of the base.
        points: the differences by task.
        resampled: the differences on resampled pairs by task, each of shape (resamples,).
        means: tasks by the name of their mean.
    """
    members: dict[str, tuple[str, ...]] = {task: (task,) for task in points}
    members |= {name: tuple(tasks) for name, tasks in means.items() if points.keys() >= set(tasks)}
    rows = []
    for name, tasks in members.items():
        values = np.mean([resampled[task] for task in tasks], axis=0)
        ci95 = None if np.isnan(values).all() else interval(values)
        rows.append(
            Difference(
                system=names[0],
                base=names[1],
                task=name,
                difference=round(float(np.mean([points[task] for task in tasks])), 6),
                ci95=ci95,
                significant=ci95 is not None and (ci95[0] > 0 or ci95[1] < 0),
            )
        )
    return rows
