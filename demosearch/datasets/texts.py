"""Texts from a file or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from demosearch._common.lines import lines_of
from demosearch._common.tables import SUFFIXES, read_rows
from demosearch.errors import UserError, short

STDIN = "-"
TEXT_COLUMNS = ("text", "sentence")


def check_input(source: str) -> None:
    """Check that an input file exists.

    Raises:
        UserError: it does not exist.
    """
    if source != STDIN and not Path(source).expanduser().is_file():
        raise UserError(
            f"the input must be an existing file, or - for standard input, but got '{source}'"
        )


def read_texts(source: str, column: str | None = None) -> Iterator[str]:
    """Yield the texts of a file or of standard input, one after the other.

    Args:
        source: `-`, or a CSV, TSV, JSONL or parquet file; other files are plain text with one text per
            line.
        column: the column of the text; None means `text` or `sentence`.

    Raises:
        UserError: the file cannot be read or is empty, or a row does not have the column.
    """
    empty = True
    for text in _texts(source, column):
        empty = False
        yield text
    if empty:
        raise UserError(f"{source} must contain at least one text but is empty")


def _texts(source: str, column: str | None) -> Iterator[str]:
    if source == STDIN:
        yield from lines_of(sys.stdin.buffer, "standard input")
        return
    path = Path(source).expanduser()
    if path.suffix.lower() in SUFFIXES:
        for location, row in read_rows(path):
            names = [column.strip()] if column else TEXT_COLUMNS
            name = next((name for name in names if name in row), None)
            if name is None:
                raise UserError(
                    f"{location}: the columns must include {' or '.join(map(repr, names))} but got"
                    f" {', '.join(row) or 'none'}; use --column to name the column of the text"
                )
            if not isinstance(row[name], str):
                raise UserError(
                    f"{location}: '{name}' must be a text but got {short(repr(row[name]))}"
                )
            yield row[name]
        return
    try:
        with path.open("rb") as file:
            yield from lines_of(file, str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
