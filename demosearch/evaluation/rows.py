"""Rows of a comparison: scores of evaluated systems, and published scores."""

from __future__ import annotations

import csv
import fnmatch
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from demosearch.errors import UserError
from demosearch.evaluation.result import Result
from demosearch.evaluation.tasks import GROUPS, STS

PUBLISHED = Path(__file__).with_name("published.csv")


class Row(BaseModel):
    """The scores of one system."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    system: str
    scores: dict[str, float] = Field(description="by task, x 100")
    average: dict[str, float] = Field(
        description="by group; only groups whose tasks all have a score, or published without them"
    )
    source: str | None = Field(None, description="of published scores")

    @classmethod
    def of(cls, system: str, result: Result) -> Row:
        """Return the row of an evaluated system.

        Args:
            system: its name in the table.
            result: its scores.
        """
        scores = {name: task.score for name, task in result.tasks.items() if task.score is not None}
        return cls(system=system, scores=scores, average=result.average)

    def mean(self, tasks: tuple[str, ...]) -> float | None:
        """Return the mean score over tasks, or None if one of the scores is missing."""
        if not self.scores.keys() >= set(tasks):
            return None
        return float(np.mean([self.scores[task] for task in tasks]))


def read_published(pattern: str) -> list[Row]:
    """Return the published scores of systems whose names match a pattern, e.g. `OPT*`.

    Raises:
        UserError: no name matches.
    """
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    matches = [line for line in lines if fnmatch.fnmatch(line["system"].lower(), pattern.lower())]
    if not matches:
        names = ", ".join(line["system"] for line in lines)
        raise UserError(
            f"--published must match a published system but got '{pattern}'; known: {names}"
        )
    rows = []
    for line in matches:
        # Of some systems only the mean of the seven tasks is known.
        scores = {task: float(line[task]) for task in GROUPS[STS] if line[task]}
        mean = float(line["mean"] or np.mean(list(scores.values())))
        average = {STS: round(mean, 2)}
        system = f"{line['system']} (published, {line['kind']})"
        rows.append(Row(system=system, scores=scores, average=average, source=line["source"]))
    return rows
