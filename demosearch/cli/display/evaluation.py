"""What `evaluate` and `finetune` print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from demosearch.cli.display.console import (
    add_columns,
    plain_table,
    show,
    show_files,
    show_line,
    show_title,
)

if TYPE_CHECKING:
    from demosearch.evaluation.result import Result
    from demosearch.finetune import Training

# The files of a training run that are listed at its end.
_FILES = ("adapter_model.safetensors", "training.json", "curve.csv", "curve.png")


def show_result(result: Result, *, details: bool = False) -> None:
    """Print the scores of one system, with the parts of each score if `details` is set."""
    show_title(result.system.label)
    table = plain_table()
    add_columns(table, left=["task", "metric"], right=["examples", "score"])
    for name, task in result.tasks.items():
        count = str(task.pairs or task.examples)
        metric = f"{task.metric} ({task.classifier})" if task.classifier else task.metric
        table.add_row(Text(name), metric, count, _number(task.score))
        parts = {**task.subsets, **task.other} if details else {}
        for part, score in parts.items():
            table.add_row(Text(f"  {part}"), "", "", _number(score), style="dim")
    for group, score in result.average.items():
        table.add_row(f"{group} average", "", "", f"{score:.2f}", style="bold")
    show(table)
    if result.missing:
        show_line(f"skipped, no data: {', '.join(result.missing)}")


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


def show_training(training: Training, folder: Path) -> None:
    """Print the loss and the dev scores of a fine-tuning, and its files."""
    losses = [row.loss for row in training.curve if row.loss is not None]
    if losses:
        show_line(f"{training.steps} steps, loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    if training.dev_before is not None and training.dev_after is not None:
        kept = f", step {training.best_step} kept" if training.best_step is not None else ""
        show_line(f"dev {training.dev_before:.2f} before, {training.dev_after:.2f} after{kept}")
    paths = [folder / name for name in _FILES]
    show_files(*(path for path in paths if path.exists()))
