"""What a person sees at the end of a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from demosearch.demonstration import DemonstrationsFile

if TYPE_CHECKING:
    from demosearch.candidates import Generated
    from demosearch.evaluation.result import Result
    from demosearch.pipeline import RunResult

LEADERS = 5


def show_run(result: RunResult) -> None:
    """Show the best demonstrations, the gain and how sure it is, and where the files are."""
    show_search(result.file)
    if result.test is not None:
        test = result.test["test"]
        low, high = test["gain_ci95"]
        _out().print(
            f"test {test['name']} ({test['pairs']} pairs): {test['spearman']:.2f}, without"
            f" demonstration {test['baseline_spearman']:.2f}, gain {test['gain']:+.2f}"
            f" [{low:+.2f}, {high:+.2f}]",
            markup=False,
        )
    names = ("demonstrations.json", "evaluation.json", "trials.csv", "candidates.jsonl")
    show_files(*(path for name in names if (path := result.folder / name).exists()))


def show_search(file: DemonstrationsFile) -> None:
    """Show the ranking of a search."""
    dev, found = file.dev, file.search
    table = Table(
        title=f"{file.model.name} ({file.model.precision}, layer {file.prompts[0].layer})"
        f" on {dev.name}, {dev.pairs} pairs, Spearman x 100",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("", justify="right")
    for name in ("word", "sentence", "source"):
        table.add_column(name, overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("gain [95%]", justify="right", no_wrap=True)
    table.add_row("-", "", "(no demonstration)", "", f"{dev.baseline_spearman:.2f}", "")
    low, high = dev.gain_ci95
    for rank, one in enumerate(file.ranking[:LEADERS], start=1):
        gain = f"{one.spearman - dev.baseline_spearman:+.2f}"
        table.add_row(
            str(rank),
            Text(one.word),
            Text(one.sentence),
            one.source,
            f"{one.spearman:.2f}",
            f"{gain} [{low:+.2f}, {high:+.2f}]" if rank == 1 else gain,
            style="bold" if rank == 1 else None,
        )
    out = _out()
    out.print(table)
    if file.estimate is not None:
        low, high = file.estimate.ci95
        out.print(
            f"corrected for the choice among {file.estimate.candidates} finalists: gain"
            f" {file.estimate.gain:+.2f} [{low:+.2f}, {high:+.2f}]",
            markup=False,
        )
    share = found.sentences_encoded / found.sentences_exhaustive
    out.print(
        f"{found.candidates} candidates, {found.strategy}: {found.sentences_encoded} sentences"
        f" encoded, {share:.0%} of an exhaustive search, in {found.seconds:.0f} s",
        markup=False,
    )


def show_candidates(generated: Generated, path: str | Path) -> None:
    """Show how many candidates came from where, and what was refused."""
    out = _out()
    for source, count in generated.sources.items():
        out.print(f"{count:6d}  {source}", markup=False)
    for reason, count in generated.rejected.items():
        out.print(f"{count:6d}  refused: {reason}", markup=False)
    show_files(path)


def show_result(result: Result) -> None:
    """Show one system's scores."""
    table = Table(title=f"{result.system.model.name}, Spearman x 100", title_justify="left")
    for name in ("task", "pairs", "score"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for name, task in result.tasks.items():
        table.add_row(name, str(task.pairs), f"{task.score:.2f}")
    if result.average is not None:
        table.add_row("average", "", f"{result.average:.2f}", style="bold")
    out = _out()
    out.print(table)
    if result.missing:
        out.print(f"left out, no data: {', '.join(result.missing)}", markup=False)


def show_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Show dictionaries of the same keys as a table."""
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int) else "left")
    for row in rows:
        table.add_row(*(Text(f"{value}") for value in row.values()))
    _out().print(table)


def show_files(*paths: str | Path) -> None:
    """Say where the files are."""
    out = _out()
    for path in paths:
        out.print(f"-> {path}", markup=False, highlight=False, soft_wrap=True)


def show_json(value: Any) -> None:
    """Show a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _out() -> Console:
    return Console(file=sys.stdout)
