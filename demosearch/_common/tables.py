"""Reading rows of named columns, with their locations, from CSV, TSV, JSONL and parquet files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from demosearch.errors import UserError

Row = tuple[str, dict[str, Any]]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

# Longer than any sentence; the csv module's default limit of 128 KiB is too small for some files.
csv.field_size_limit(1 << 26)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield `(location, row)` for each row; a location is e.g. `pairs.csv, line 7`.

    Raises:
        UserError: the suffix is unknown, the file cannot be read, or a row is malformed.
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
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from rows_of(file, suffix, str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def rows_of(file: IO[str], suffix: str, name: str) -> Iterator[Row]:
    """Yield `(location, row)` for each row of an open text file.

    Args:
        file: the open file.
        suffix: `.csv`, `.tsv` or `.jsonl`.
        name: of the file, for locations and error messages.
    """
    try:
        if suffix == ".jsonl":
            yield from _json_lines(file, name)
        else:
            yield from _delimited(file, "\t" if suffix == ".tsv" else ",", name)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text (byte {error.start})") from error


def _delimited(file: IO[str], delimiter: str, name: str) -> Iterator[Row]:
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            location = f"{name}, line {reader.line_num}"
            if None in row:
                raise UserError(
                    f"{location}: more fields than columns in the header; quote the text"
                )
            missing = [column for column, value in row.items() if value is None]
            if missing:
                raise UserError(f"{location}: there is no field for column '{missing[0]}'")
            yield location, dict(row)
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num}: {error}") from error


def _json_lines(file: IO[str], name: str) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        location = f"{name}, line {number}"
        try:
            value = json.loads(line)
            if "\\u" in line:
                # An escape may be half of a surrogate pair, which cannot be written to a file.
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise UserError(f"{location} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{location}: must be a JSON object but got {type(value).__name__}")
        yield location, value


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"cannot read {path} as parquet: {error}") from error
