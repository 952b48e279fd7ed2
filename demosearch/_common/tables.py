"""Reading rows of named columns, with their locations, from CSV, TSV, JSONL and parquet files.

A file has as many rows as are read, in its order, or the reader raises an error that says why not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from demosearch._common.delimited import Row, delimited_rows, unique_names
from demosearch._common.lines import lines_of
from demosearch.errors import UserError, short

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
# What a line of JSON may begin and end with.
_BLANKS = " \t\r\n"


def read_rows(path: Path) -> Iterator[Row]:
    """Yield `(location, row)` for each row; a location is e.g. `pairs.csv, line 7`.

    A location is the first line of the row in CSV, TSV and JSONL, and its number in parquet. Blanks around
    the names of columns are removed. Columns without a name are left out.

    Raises:
        UserError: the suffix is unknown, the file cannot be read, a column occurs twice, or a row is
            malformed.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path)
        return
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path}: the suffix must be one of {', '.join(SUFFIXES)} but got '{suffix}'"
        )
    try:
        with path.open("rb") as opened:
            # A pipe cannot be read twice.
            file = opened if opened.seekable() else BytesIO(opened.read())
            if suffix == ".jsonl":
                yield from _json_lines(file, str(path))
            else:
                yield from delimited_rows(file, "\t" if suffix == ".tsv" else ",", str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def parse_object(line: str, location: str) -> dict[str, Any]:
    """Return the JSON object of a line.

    Args:
        line: a line of a JSONL file.
        location: of the line, for error messages.

    Raises:
        UserError: the line is not a JSON object, or a field occurs twice.
    """
    try:
        value = json.loads(line, object_pairs_hook=_without_repetition)
        if "\\u" in line:
            # An escape may be half of a surrogate pair, which cannot be written to a file.
            json.dumps(value, ensure_ascii=False).encode()
    except _RepeatedField as error:
        raise UserError(
            f"{location}: the field '{short(str(error))}' occurs twice; remove or rename one of the two"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{location} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{location}: must be a JSON object but got {type(value).__name__}")
    return value


class _RepeatedField(Exception):  # noqa: N818
    """A JSON object has a field twice."""


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedField(next(name for name in names if names.count(name) > 1))
    return value


def _json_lines(file: IO[bytes], name: str) -> Iterator[Row]:
    for number, line in enumerate(lines_of(file, name), start=1):
        if not line.strip(_BLANKS):
            continue
        location = f"{name}, line {number}"
        value = parse_object(line, location)
        yield location, dict(zip(unique_names([*value], location), value.values(), strict=True))


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = unique_names(file.schema_arrow.names, str(path))
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.rename_columns(names).to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"cannot read {path} as parquet: {error}") from error
