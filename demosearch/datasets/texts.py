"""Reading texts, one after the other, from a file or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from demosearch._common.tables import SUFFIXES, read_rows
from demosearch.errors import UserError

STDIN = "-"
TEXT_COLUMNS = ("text", "sentence")


def check_input(source: str) -> None:
    """Find out whether there is anything to read.

    Raises:
        UserError: the file is not there.
    """
    if source != STDIN and not Path(source).expanduser().is_file():
        raise UserError(f"no input file {source}; give a file, or - for standard input")


def read_texts(source: str, column: str | None = None) -> Iterator[str]:
    """Yield the texts of a file or of standard input, one after the other.

    Args:
        source: `-` or a file: CSV, TSV, JSONL, parquet, else plain text with one text a line.
        column: the column that holds the text; None is `text` or `sentence`.

    Raises:
        UserError: the file cannot be read or is empty, or a row has no such column.
    """
    empty = True
    for text in _texts(source, column):
        empty = False
        yield text
    if empty:
        raise UserError(f"{source} holds no text to embed")


def _texts(source: str, column: str | None) -> Iterator[str]:
    if source == STDIN:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"standard input, line {number} is not UTF-8 text") from error
            yield text.rstrip("\r\n")
        return
    path = Path(source).expanduser()
    if path.suffix.lower() in SUFFIXES:
        for place, row in read_rows(path):
            names = [column] if column else TEXT_COLUMNS
            name = next((name for name in names if name in row), None)
            if name is None:
                raise UserError(
                    f"{place}: no column {' or '.join(map(repr, names))}; found"
                    f" {', '.join(row) or 'none'}; name it by --column"
                )
            if not isinstance(row[name], str):
                raise UserError(f"{place}: '{name}' is no text")
            yield row[name]
        return
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from (line.rstrip("\r\n") for line in file)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
