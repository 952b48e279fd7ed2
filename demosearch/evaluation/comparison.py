"""Systems side by side: which is better, and how sure that is."""

from __future__ import annotations

import csv
import fnmatch
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from demosearch.errors import UserError
from demosearch.evaluation.result import Evaluation
from demosearch.evaluation.tasks import GROUPS, STS, TASKS, TRANSFER
from demosearch.metrics.correlation import spearman

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1000
AVERAGE = "average"
PUBLISHED = Path(__file__).with_name("published.csv")
_NAMES = {STS: "STS", TRANSFER: "transfer"}
_AVERAGES = {group: f"{name} avg." for group, name in _NAMES.items()}
_BOLD = {"markdown": "**{}**", "latex": r"\textbf{{{}}}"}


class TableFormat(StrEnum):
    """How a comparison is written."""

    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"


class Difference(BaseModel):
    """How much better one system is than another."""

    model_config = ConfigDict(extra="forbid")

    system: str
    base: str
    task: str = Field(
        description="a task; 'sts average'; 'sts mean of 4', where the systems share some tasks only"
    )
    difference: float = Field(description="x 100; above 0 where the system is better than the base")
    ci95: tuple[float, float] = Field(description="by paired bootstrap over pairs or examples")
    significant: bool = Field(description="the interval leaves out 0")


class Row(BaseModel):
    """One system's scores, or published ones."""

    model_config = ConfigDict(extra="forbid")

    system: str
    scores: dict[str, float] = Field(description="by task, x 100")
    average: dict[str, float] = Field(description="by group, where it is complete")
    source: str | None = Field(None, description="of published scores")


@dataclass(frozen=True)
class Comparison:
    """Systems on the same tasks; the first is what the others are compared with.

    Attributes:
        names: what the systems are called.
        evaluations: their scores.
        published: rows to stand beside them.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    published: tuple[Row, ...] = ()
    resamples: int = RESAMPLES
    seed: int = 0

    @cached_property
    def rows(self) -> list[Row]:
        """All rows of the table: the systems, then the published ones."""
        ours = [
            Row(
                system=name,
                scores={task: one.score for task, one in each.result.tasks.items()},
                average=each.result.average,
            )
            for name, each in zip(self.names, self.evaluations, strict=True)
        ]
        return [*ours, *self.published]

    @cached_property
    def differences(self) -> list[Difference]:
        """What each other system has over the first, by task and on average.

        Only tasks whose details both have, on the same data, are compared.
        """
        base, *others = self.evaluations
        resampled_base: dict[str, NDArray[np.float64]] = {}
        return [
            difference
            for name, other in zip(self.names[1:], others, strict=True)
            for difference in self._against(base, resampled_base, name, other)
        ]

    @cached_property
    def _parts(self) -> dict[str, tuple[str, ...]]:
        """Return the tasks that all systems have of a group, where that is some and not all of it."""
        shared = {
            group: tuple(
                task
                for task in members
                if all(task in each.result.tasks for each in self.evaluations)
            )
            for group, members in GROUPS.items()
        }
        return {
            group: tasks for group, tasks in shared.items() if 1 < len(tasks) < len(GROUPS[group])
        }

    def _against(
        self,
        base: Evaluation,
        resampled_base: dict[str, NDArray[np.float64]],
        name: str,
        other: Evaluation,
    ) -> list[Difference]:
        drawn: dict[str, NDArray[np.float64]] = {}
        points: dict[str, float] = {}
        for task in _shared(base, other):
            if _not_comparable(base, other, task):
                continue
            points[task] = other.result.tasks[task].score - base.result.tasks[task].score
            if task not in resampled_base:
                resampled_base[task] = self._resampled(base, task)
            drawn[task] = self._resampled(other, task) - resampled_base[task]
        means = {f"{group} {AVERAGE}": members for group, members in GROUPS.items()}
        means |= {_part(group, tasks): tasks for group, tasks in self._parts.items()}
        for title, members in means.items():
            if all(task in drawn for task in members):
                points[title] = float(np.mean([points[task] for task in members]))
                drawn[title] = np.mean([drawn[task] for task in members], axis=0)
        found = []
        for task, values in drawn.items():
            low, high = (round(float(end), 3) for end in np.nanpercentile(values, [2.5, 97.5]))
            found.append(
                Difference(
                    system=name,
                    base=self.names[0],
                    task=task,
                    difference=round(points[task], 6),
                    ci95=(low, high),
                    significant=low > 0 or high < 0,
                )
            )
        return found

    def _resampled(self, evaluation: Evaluation, task: str) -> NDArray[np.float64]:
        """Return the task's score on resampled pairs: the same ones for every system."""
        details = evaluation.details[task]
        generator = np.random.default_rng([self.seed, zlib.crc32(task.encode())])
        count = len(details.values)
        scores = np.empty(self.resamples)
        for place in range(self.resamples):
            drawn = generator.integers(0, count, count)
            values = details.values[drawn]
            if len(details.gold):
                scores[place] = spearman(values, details.gold[drawn].tolist())
            else:
                scores[place] = 100 * values.mean()
        return scores

    @cached_property
    def notes(self) -> list[str]:
        """What a reader of the table has to know: what is not compared, and what flatters."""
        base, *others = self.evaluations
        found = [
            f"{name}: {overlap}"
            for name, each in zip(self.names, self.evaluations, strict=True)
            for overlap in each.result.overlaps
        ]
        for name, other in zip(self.names[1:], others, strict=True):
            found += [
                f"{name}: {_title(task)} is not compared: {reason}"
                for task in _shared(base, other)
                if (reason := _not_comparable(base, other, task))
            ]
        return found

    def text(self, form: TableFormat) -> str:
        """Return the scores and the differences as text.

        In CSV a difference and its interval are further columns. Notes are in all but CSV.
        """
        scores = self._scores(form)
        match form:
            case TableFormat.JSON:
                return json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n"
            case TableFormat.CSV:
                return str(scores.join(self._difference_columns()).to_csv())
            case TableFormat.LATEX:
                tables = [_latex(scores)]
                if self.differences:
                    tables += [f"% {self._heading}\n" + _latex(self._difference_table())]
                return "\n".join([*tables, *(f"% {note}\n" for note in self.notes)])
        parts = [_markdown(scores)]
        if self.differences:
            parts += [self._heading, _markdown(self._difference_table())]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"

    @property
    def _heading(self) -> str:
        return f"Differences from {self.names[0]}; * where the 95% interval leaves out 0:"

    def as_json(self) -> dict[str, Any]:
        """Return the whole comparison as JSON takes it."""
        return {
            "rows": [row.model_dump(exclude_none=True) for row in self.rows],
            "differences": [one.model_dump(mode="json") for one in self.differences],
            "notes": self.notes,
        }

    def _scores(self, form: TableFormat) -> pd.DataFrame:
        known = [task for task in TASKS if any(task in row.scores for row in self.rows)]
        own = dict.fromkeys(task for row in self.rows for task in row.scores if task not in TASKS)
        columns = {_title(task): [row.scores.get(task) for row in self.rows] for task in known}
        for group, title in _AVERAGES.items():
            if any(group in row.average for row in self.rows):
                columns[title] = [row.average.get(group) for row in self.rows]
        for group, tasks in self._parts.items():
            columns[_part(_NAMES[group], tasks)] = [_mean(row, tasks) for row in self.rows]
        columns |= {task: [row.scores.get(task) for row in self.rows] for task in own}
        names = pd.Index([row.system for row in self.rows], name="system")
        table = pd.DataFrame(columns, index=names, dtype=float)
        frame = _BOLD.get(form, "{}")
        text: pd.DataFrame = table.apply(
            lambda values: [_number(one, values.max(), frame) for one in values]
        )
        return text

    def _difference_columns(self) -> pd.DataFrame:
        cells: dict[str, dict[str, object]] = {name: {} for name in self.names}
        for one in self.differences:
            title = _title(one.task)
            cells[one.system] |= {
                f"{title} difference": f"{one.difference:.2f}",
                f"{title} low": f"{one.ci95[0]:.2f}",
                f"{title} high": f"{one.ci95[1]:.2f}",
                f"{title} significant": str(one.significant).lower(),
            }
        return pd.DataFrame.from_dict(cells, orient="index")

    def _difference_table(self) -> pd.DataFrame:
        rows = [
            {
                "system": one.system,
                "task": _title(one.task),
                "difference": f"{one.difference:+.2f}{'*' if one.significant else ''}",
                "95% interval": f"[{one.ci95[0]:+.2f}, {one.ci95[1]:+.2f}]",
            }
            for one in self.differences
        ]
        return pd.DataFrame(rows).set_index("system")


def compare(
    results: Sequence[str | Path], *, published: str | None = None, resamples: int = RESAMPLES
) -> Comparison:
    """Put results side by side.

    Args:
        results: files that `evaluate` wrote; the first is what the others are compared with.
        published: rows of published scores whose names fit this pattern, e.g. `OPT*`.
        resamples: of the bootstrap.

    Raises:
        UserError: a file is no result, no published row fits, or there is nothing to resample.
    """
    if resamples < 1:
        raise UserError(f"--resamples {resamples}: give at least 1")
    evaluations = _one_name_a_file([Evaluation.read(path) for path in results])
    labels = [each.result.system.label for each in evaluations]
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


def read_published(pattern: str) -> list[Row]:
    """Return the published scores of systems whose names fit a pattern.

    Raises:
        UserError: there are none.
    """
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        every = list(csv.DictReader(file))
    found = [row for row in every if fnmatch.fnmatch(row["system"].lower(), pattern.lower())]
    if not found:
        names = ", ".join(row["system"] for row in every)
        raise UserError(f"--published {pattern}: no such system; known: {names}")
    rows = []
    for row in found:
        scores = {task: float(row[task]) for task in GROUPS[STS]}
        average = {STS: round(float(np.mean(list(scores.values()))), 2)}
        name = f"{row['system']} (published, {row['kind']})"
        rows.append(Row(system=name, scores=scores, average=average, source=row["source"]))
    return rows


def _one_name_a_file(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Call a file of pairs what the first result calls it: the way to it differs between hosts."""
    known: dict[str, str] = {}
    found = []
    for each in evaluations:
        tasks = each.result.tasks
        own = {one.sha256: name for name, one in tasks.items() if name not in TASKS}
        names = {name: known.setdefault(data, name) for data, name in own.items()}
        # The same pairs under two names stay two, and so do others under one name.
        times = Counter(names.values())
        names = {
            name: other for name, other in names.items() if other not in tasks and times[other] == 1
        }
        renamed = {names.get(name, name): one for name, one in tasks.items()}
        details = {names.get(name, name): one for name, one in each.details.items()}
        found.append(Evaluation(each.result.model_copy(update={"tasks": renamed}), details))
    return found


def _shared(first: Evaluation, second: Evaluation) -> list[str]:
    """Return the tasks that both systems have, in the tables' order, then the user's own."""
    theirs = second.result.tasks
    return sorted((task for task in first.result.tasks if task in theirs), key=_place)


def _not_comparable(first: Evaluation, second: Evaluation, task: str) -> str:
    """Return why two systems' scores on a task both have are not compared; empty if they are."""
    one, other = first.result.tasks[task], second.result.tasks[task]
    if one.sha256 != other.sha256:
        return "its data is another"
    if one.classifier != other.classifier:
        return f"its classifier is {other.classifier}, not {one.classifier}"
    if not {task} <= first.details.keys() & second.details.keys():
        return "the .npz beside a result is gone"
    return ""


def _title(task: str) -> str:
    if task in TASKS:
        return TASKS[task].title
    group, _, rest = task.partition(" ")
    if group not in _NAMES:
        return task
    return _AVERAGES[group] if rest == AVERAGE else f"{_NAMES[group]} {rest}"


def _place(task: str) -> int:
    """Return where a task stands in a table."""
    return list(TASKS).index(task) if task in TASKS else len(TASKS)


def _part(group: str, tasks: Sequence[str]) -> str:
    return f"{group} mean of {len(tasks)}"


def _mean(row: Row, tasks: Sequence[str]) -> float | None:
    if not row.scores.keys() >= set(tasks):
        return None
    return float(np.mean([row.scores[task] for task in tasks]))


def _number(value: float, best: float, frame: str) -> str:
    if np.isnan(value):
        return ""
    return frame.format(f"{value:.2f}") if value == best else f"{value:.2f}"


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "#$%&_{}" else letter for letter in text)


def _latex(table: pd.DataFrame) -> str:
    safe = table.rename(index=_escaped, columns=_escaped).rename_axis(None)
    if "task" in safe:
        safe["task"] = safe["task"].map(_escaped)
    return str(safe.to_latex(column_format="l" + "r" * table.shape[1]))


def _markdown(table: pd.DataFrame) -> str:
    lines = [[str(table.index.name), *table.columns], *table.itertuples()]
    rows = [
        "| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines
    ]
    rows.insert(1, "|---|" + "".join("---|" if name == "task" else "---:|" for name in table))
    return "\n".join(rows)
