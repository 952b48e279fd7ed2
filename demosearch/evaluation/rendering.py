"""Tables of a comparison as text: Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from demosearch.evaluation.differences import Difference


class TableFormat(StrEnum):
    """The format of a comparison's text."""

    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"


@dataclass(frozen=True)
class Tables:
    """The tables of a comparison.

    Attributes:
        scores: a row per system, indexed by `system`, and a column per task or mean; nan where a
            score is missing.
        differences: between the systems, with the tasks' titles.
        heading: of the differences.
        notes: what a reader of the tables must know.
    """

    scores: pd.DataFrame
    differences: Sequence[Difference]
    heading: str
    notes: Sequence[str]

    def markdown(self) -> str:
        """Return Markdown tables; the best score of each column is bold."""
        scores = self.scores.apply(_with_best_in_bold).reset_index()
        parts = [_markdown(scores)]
        if self.differences:
            parts += [self.heading, _markdown(self._difference_text())]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """Return LaTeX tables for the package booktabs; the best score of each column is bold."""
        scores = self.scores.reset_index()
        best = list(self.scores.columns)
        parts = [_latex(scores, best)]
        if self.differences:
            parts += [f"% {self.heading}\n" + _latex(self._difference_text(), [])]
        return "\n".join([*parts, *(f"% {note}\n" for note in self.notes)])

    def csv(self) -> str:
        """Return one CSV table; each task's difference and its interval are additional columns."""
        columns: dict[str, dict[str, object]] = {name: {} for name in self.scores.index}
        for difference in self.differences:
            low, high = difference.ci95 or (None, None)
            columns[difference.system] |= {
                f"{difference.task} difference": difference.difference,
                f"{difference.task} low": low,
                f"{difference.task} high": high,
                f"{difference.task} significant": str(difference.significant).lower(),
            }
        table = self.scores.join(pd.DataFrame.from_dict(columns, orient="index"))
        return str(table.to_csv(float_format="%.2f"))

    def _difference_text(self) -> pd.DataFrame:
        rows = [
            {
                "system": difference.system,
                "task": difference.task,
                "difference": f"{difference.difference:+.2f}{'*' if difference.significant else ''}",
                "95% interval": "[{:+.2f}, {:+.2f}]".format(*difference.ci95)
                if difference.ci95
                else "-",
            }
            for difference in self.differences
        ]
        return pd.DataFrame(rows)


_TEXT_COLUMNS = ("system", "task")


def _with_best_in_bold(column: pd.Series[float]) -> pd.Series[str]:
    best = column.max()
    cells = ["" if pd.isna(score) else f"{score:.2f}" for score in column]
    bold = [
        f"**{cell}**" if score == best else cell for cell, score in zip(cells, column, strict=True)
    ]
    return pd.Series(bold, index=column.index)


def _markdown(table: pd.DataFrame) -> str:
    # pandas' own `to_markdown` requires the package tabulate.
    lines = [list(table.columns), *table.itertuples(index=False)]
    rows = [
        "| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines
    ]
    aligned = ("---" if name in _TEXT_COLUMNS else "---:" for name in table)
    rows.insert(1, "|" + "|".join(aligned) + "|")
    return "\n".join(rows)


def _latex(table: pd.DataFrame, best_in_bold: Sequence[str]) -> str:
    style = (
        table.style.format(precision=2, na_rep="", escape="latex")
        .format_index(axis="columns", escape="latex")
        .highlight_max(subset=list(best_in_bold), props="textbf:--rwrap;")
        .hide(axis="index")
    )
    alignment = "".join("l" if name in _TEXT_COLUMNS else "r" for name in table)
    return str(style.to_latex(hrules=True, column_format=alignment))
