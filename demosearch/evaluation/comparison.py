"""Evaluated systems side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from demosearch._common.files import json_text
from demosearch.errors import UserError
from demosearch.evaluation.differences import (
    Difference,
    differences,
    shared_tasks,
    why_not_comparable,
)
from demosearch.evaluation.rendering import TableFormat, Tables
from demosearch.evaluation.result import Evaluation
from demosearch.evaluation.rows import Row, read_published
from demosearch.evaluation.tasks import GROUPS, STS, TASKS, TRANSFER

__all__ = [
    "RESAMPLES",
    "Comparison",
    "Difference",
    "Row",
    "TableFormat",
    "compare",
    "read_published",
]

RESAMPLES = 1000
AVERAGE = "average"
_NAMES = {STS: "STS", TRANSFER: "transfer"}
_AVERAGES = {group: f"{name} avg." for group, name in _NAMES.items()}


@dataclass(frozen=True)
class Comparison:
    """Systems on the same tasks; the other systems are compared with the first one.

    Attributes:
        names: the systems' names in the tables.
        evaluations: their scores.
        published: rows of published scores.
        resamples: number of resamples of the bootstrap.
        seed: random seed of the bootstrap.
    """

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    published: tuple[Row, ...] = ()
    resamples: int = RESAMPLES
    seed: int = 0

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the table: the systems, then the published scores."""
        systems = zip(self.names, self.evaluations, strict=True)
        return [*(Row.of(name, evaluation.result) for name, evaluation in systems), *self.published]

    @cached_property
    def differences(self) -> list[Difference]:
        """The differences of the other systems from the first one, by task and on average."""
        means = {f"{group} {AVERAGE}": tasks for group, tasks in GROUPS.items()}
        means |= {_mean_name(group, tasks): tasks for group, tasks in self._incomplete.items()}
        return differences(
            self.evaluations, self.names, means, resamples=self.resamples, seed=self.seed
        )

    @cached_property
    def notes(self) -> list[str]:
        """What a reader of the tables must know: overlaps, and tasks without a score or a difference."""
        base, *others = self.evaluations
        notes = [
            f"{name}: {overlap}"
            for name, evaluation in zip(self.names, self.evaluations, strict=True)
            for overlap in evaluation.result.overlaps
        ]
        notes += [
            f"{name}: {_title(task)} has no score, because all similarities or all gold scores are equal"
            for name, evaluation in zip(self.names, self.evaluations, strict=True)
            for task, result in evaluation.result.tasks.items()
            if result.score is None
        ]
        for name, other in zip(self.names[1:], others, strict=True):
            notes += [
                f"{name}: {_title(task)} is not compared: {reason}"
                for task in shared_tasks(base, other)
                if (reason := why_not_comparable(base, other, task))
            ]
        return notes

    def text(self, form: TableFormat) -> str:
        """Return the scores and the differences as text.

        In CSV, differences and intervals are additional columns. All formats but CSV contain the notes.
        """
        if form is TableFormat.JSON:
            return json_text(self.as_json())
        heading = f"Differences from {self.names[0]}; * if the 95% interval does not include 0:"
        titled = [
            difference.model_copy(update={"task": _title(difference.task)})
            for difference in self.differences
        ]
        tables = Tables(self.score_table(), titled, heading, self.notes)
        if form is TableFormat.CSV:
            return tables.csv()
        return tables.latex() if form is TableFormat.LATEX else tables.markdown()

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        return {
            "rows": [row.model_dump(exclude_none=True) for row in self.rows],
            "differences": [difference.model_dump(mode="json") for difference in self.differences],
            "notes": self.notes,
        }

    def score_table(self) -> pd.DataFrame:
        """Return the scores: a row per system, a column per task or mean, nan for a missing score."""
        known = [task for task in TASKS if any(task in row.scores for row in self.rows)]
        own = dict.fromkeys(task for row in self.rows for task in row.scores if task not in TASKS)
        columns = {_title(task): [row.scores.get(task) for row in self.rows] for task in known}
        for group, title in _AVERAGES.items():
            if any(group in row.average for row in self.rows):
                columns[title] = [row.average.get(group) for row in self.rows]
        for group, tasks in self._incomplete.items():
            columns[_mean_name(_NAMES[group], tasks)] = [row.mean(tasks) for row in self.rows]
        columns |= {task: [row.scores.get(task) for row in self.rows] for task in own}
        names = pd.Index([row.system for row in self.rows], name="system")
        return pd.DataFrame(columns, index=names, dtype=float)

    @cached_property
    def _incomplete(self) -> dict[str, tuple[str, ...]]:
        """The tasks that all systems have, of the groups of which they have two or more but not all."""
        shared = {
            group: tuple(
                task
                for task in members
                if all(task in evaluation.result.tasks for evaluation in self.evaluations)
            )
            for group, members in GROUPS.items()
        }
        return {
            group: tasks for group, tasks in shared.items() if 1 < len(tasks) < len(GROUPS[group])
        }


def compare(
    results: Sequence[str | Path], *, published: str | None = None, resamples: int = RESAMPLES
) -> Comparison:
    """Compare results of `evaluate`.

    Args:
        results: files that `evaluate` wrote; the other systems are compared with the first one.
        published: pattern of the names of systems whose published scores are added, e.g. `OPT*`.
        resamples: number of resamples of the bootstrap.

    Raises:
        UserError: a file is not a result, no published system matches, or `resamples` is not positive.
    """
    if resamples < 1:
        raise UserError(f"--resamples must be a positive integer but got {resamples}")
    evaluations = _with_common_names([Evaluation.read(path) for path in results])
    labels = [evaluation.result.system.label for evaluation in evaluations]
    count = Counter(labels)
    stems = {Path(path).stem for path in results}
    names = tuple(
        label
        if count[label] == 1
        else f"{label} ({path if len(stems) < len(results) else Path(path).stem})"
        for label, path in zip(labels, results, strict=True)
    )
    rows = read_published(published) if published else []
    return Comparison(names, tuple(evaluations), tuple(rows), resamples)


def _with_common_names(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Give a file of pairs the name that the first result has for it: its path may differ by host."""
    known: dict[str, str] = {}
    renamed = []
    for evaluation in evaluations:
        tasks = evaluation.result.tasks
        own = {result.sha256: task for task, result in tasks.items() if task not in TASKS}
        names = {task: known.setdefault(data, task) for data, task in own.items()}
        # Two files with the same pairs remain two tasks, and so do two files with the same name.
        count = Counter(names.values())
        names = {
            task: name for task, name in names.items() if name not in tasks and count[name] == 1
        }
        results = {names.get(task, task): result for task, result in tasks.items()}
        details = {names.get(task, task): value for task, value in evaluation.details.items()}
        result = evaluation.result.model_copy(update={"tasks": results})
        renamed.append(Evaluation(result, details))
    return renamed


def _title(task: str) -> str:
    """Return the title of a task, or of a mean over tasks, in a table."""
    if task in TASKS:
        return TASKS[task].title
    group, _, rest = task.partition(" ")
    if group not in _NAMES:
        return task
    return _AVERAGES[group] if rest == AVERAGE else f"{_NAMES[group]} {rest}"


def _mean_name(group: str, tasks: Sequence[str]) -> str:
    return f"{group} mean of {len(tasks)}"
