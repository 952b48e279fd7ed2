"""The progress bar and the log, both on standard error and without interrupting each other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)


def complain(message: str) -> None:
    """Print an error message as one red line."""
    console.print(f"demosearch: {message}", style="red", markup=False, soft_wrap=True)


class Bar:
    """A progress bar that also shows the best value so far."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, steps: int) -> None:
        """Advance by a number of steps."""
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        """Show a short text after the bar, e.g. the best value so far."""
        self._progress.update(self._task, note=text)

    def add_to_total(self, steps: int) -> None:
        """Increase the total number of steps."""
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, total=(task.total or 0) + steps)

    def set_total(self, total: int) -> None:
        """Set the total number of steps."""
        self._progress.update(self._task, total=total)


@contextmanager
def bar(label: str, total: int | None, *, show: bool) -> Iterator[Bar]:
    """Show a progress bar inside this context.

    Args:
        label: text before the bar.
        total: number of steps; None if it is not known yet.
        show: whether the bar is drawn.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="bold"),
    )
    with Progress(*columns, console=console, disable=not show, transient=True) as progress:
        yield Bar(progress, progress.add_task(label, total=total, note=""))


class _ConsoleHandler(logging.Handler):
    """Prints each message above the bar as one line, without wrapping."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = f"{prefix}{record.getMessage()}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def log_to_console(level: int) -> None:
    """Print the log of this package on the console that also draws the bar."""
    package = logging.getLogger("demosearch")
    package.handlers = [_ConsoleHandler()]
    package.setLevel(level)
    package.propagate = False


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and reports, so that only this package's bar is shown."""
    from transformers.utils import logging as transformers_logging

    bars: Any = transformers_logging.is_progress_bar_enabled()
    verbosity: Any = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
