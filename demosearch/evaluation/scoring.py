"""Scoring an embedder on tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.embedder import Embedder
from demosearch.evaluation.result import Result, SystemRecord, TaskResult
from demosearch.evaluation.tasks import STS_GROUP, TASKS, Task
from demosearch.files import sha256
from demosearch.selection.objective import cosine
from demosearch.selection.statistics import spearman
from demosearch.versions import versions

if TYPE_CHECKING:
    from numpy.typing import NDArray


def evaluate(
    embedder: Embedder,
    data: dict[str, list[Pairs]],
    *,
    tasks: Sequence[Task],
    show_progress: bool = False,
) -> Result:
    """Score an embedder; every distinct sentence is encoded once over all tasks.

    Args:
        embedder: the system.
        data: what `read_tasks` returned.
        tasks: what was asked for; tasks without data are listed as missing.
        show_progress: draw a bar on standard error.
    """
    started = time.monotonic()
    texts = list(
        dict.fromkeys(
            text for subsets in data.values() for pairs in subsets for text in pairs.sentences()
        )
    )
    place = {text: row for row, text in enumerate(texts)}
    states = embedder.encode(texts, show_progress_bar=show_progress)
    results = {name: _score(subsets, place, states) for name, subsets in data.items()}
    group = [task.name for task in TASKS.values() if task.group == STS_GROUP]
    complete = all(name in results for name in group)
    return Result(
        system=system_record(embedder),
        tasks=results,
        average=float(np.mean([results[name].score for name in group])) if complete else None,
        missing=[task.name for task in tasks if task.name not in data],
        seconds=round(time.monotonic() - started, 1),
        versions=versions(),
    )


def system_record(embedder: Embedder) -> SystemRecord:
    """Return the record of what an embedder is."""
    return SystemRecord.model_validate(embedder.describe())


def _score(subsets: list[Pairs], place: dict[str, int], states: NDArray[np.float32]) -> TaskResult:
    by_subset = [
        cosine(
            states[[place[text] for text in pairs.sentences1]],
            states[[place[text] for text in pairs.sentences2]],
        )
        for pairs in subsets
    ]
    scores = [score for pairs in subsets for score in pairs.scores]
    return TaskResult(
        metric="spearman",
        score=spearman(np.concatenate(by_subset), scores),
        pairs=len(scores),
        sha256=sha256(pairs.sha256 for pairs in subsets),
        subsets={
            pairs.name: spearman(similarities, pairs.scores)
            for pairs, similarities in zip(subsets, by_subset, strict=True)
        },
    )
