"""Lines, tables and file names on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from demosearch._common.files import json_text


def show(renderable: RenderableType) -> None:
    """Print a table."""
    Console(file=sys.stdout).print(renderable)


def show_line(text: str) -> None:
    """Print one line, without wrapping it."""
    Console(file=sys.stdout).print(text, markup=False, highlight=False, soft_wrap=True)


def show_title(title: str, details: str = "") -> None:
    """Print a line that begins with a title in bold."""
    Console(file=sys.stdout).print(
        f"[bold]{escape(title)}[/bold]{escape(details)}", soft_wrap=True, highlight=False
    )


def show_text(text: str) -> None:
    """Print text unchanged."""
    sys.stdout.write(text)


def show_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(json_text(value))


def show_files(*paths: str | Path) -> None:
    """Print the paths of the files that a command has written."""
    for path in paths:
        show_line(f"-> {path}")


def plain_table() -> Table:
    """Return a table without vertical lines."""
    return Table(box=SIMPLE, padding=(0, 1), pad_edge=False)


def add_columns(table: Table, left: Sequence[str] = (), right: Sequence[str] = ()) -> None:
    """Add columns that are never wrapped: left-aligned ones, then right-aligned ones."""
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)


def interval(bounds: Sequence[float]) -> str:
    """Return a confidence interval of a difference, e.g. `[+1.00, +2.00]`."""
    return f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}]"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. `2 prompts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
