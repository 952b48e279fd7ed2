"""Rows of named columns from CSV and TSV files.

CSV is quoted. TSV is quoted or not, by the rule of `quoting`. The first line that is not empty is the header.
Empty lines between rows hold no row; in a table of one column they could be an empty text, and are refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from demosearch._common.lines import lines_of, raw_lines
from demosearch._common.quoting import Lines, is_quoted
from demosearch.errors import UserError, short

# The number of a row's first line, and its fields.
_Record = tuple[int, list[str]]
Row = tuple[str, dict[str, Any]]

# Longer than any sentence; the csv module's default limit of 128 KiB is too small for some files.
csv.field_size_limit(1 << 26)
# The csv module ends rows at carriage returns, which are characters of a text unless a line feed follows. This
# replacement cannot occur in a text that was decoded from UTF-8.
_RETURN = re.compile(r"\r(?!\n)")
_REPLACEMENT = "\udc0d"


def delimited_rows(file: IO[bytes], delimiter: str, name: str) -> Iterator[Row]:
    """Yield the location and the fields by column of each row; the location is the row's first line.

    Args:
        file: the file, opened in binary mode at its start; it is read twice.
        delimiter: a comma or a tab.
        name: of the file, for locations and error messages.

    Raises:
        UserError: the file is not UTF-8, a column occurs twice, a row has fewer or more fields than the
            header, or a row is not valid CSV.
    """

    def again() -> Iterator[str]:
        file.seek(0)
        return raw_lines(file, name)

    seen = Lines.of(again(), delimiter)
    if delimiter == "," or is_quoted(seen, again(), name):
        records = _quoted(again(), seen, name)
    else:
        file.seek(0)
        records = _unquoted(lines_of(file, name), delimiter)
    return _named(records, name)


def unique_names(names: Sequence[str], location: str) -> list[str]:
    """Return names of columns without blanks around them. Columns without a name are not compared.

    Raises:
        UserError: two are the same.
    """
    stripped = [name.strip() for name in names]
    seen: set[str] = set()
    for name in filter(None, stripped):
        if name in seen:
            raise UserError(
                f"{location}: the column '{short(name)}' occurs twice; remove or rename one of the two"
            )
        seen.add(name)
    return stripped


def _named(records: Iterator[_Record], name: str) -> Iterator[Row]:
    """Yield the rows of records, of which the first one is the header; empty lines are empty records."""
    header: list[str] = []
    for number, fields in records:
        location = f"{name}, line {number}"
        if not header:
            header = _header(fields, location)
            continue
        if not fields:
            if len(header) == 1:
                raise UserError(
                    f'{location}: an empty line may be an empty text; remove the line, or write ""'
                )
            continue
        if len(fields) > len(header):
            raise UserError(f"{location}: more fields than columns in the header; quote the text")
        if len(fields) < len(header):
            column = header[len(fields)] or str(len(fields) + 1)
            raise UserError(f"{location}: there is no field for column '{column}'")
        yield location, {key: value for key, value in zip(header, fields, strict=True) if key}


def _header(fields: list[str], location: str) -> list[str]:
    header = unique_names(fields, location)
    if any("\r" in name for name in header):
        raise UserError(
            f"{location}: the lines end with carriage returns; end them with line feeds, as in \\n"
        )
    return header


def _unquoted(lines: Iterator[str], delimiter: str) -> Iterator[_Record]:
    for number, line in enumerate(lines, start=1):
        yield number, line.split(delimiter) if line else []


def _quoted(lines: Iterator[str], seen: Lines, name: str) -> Iterator[_Record]:
    """Yield the records of a quoted file, as the csv module reads them."""
    record: list[str] = []

    def remembered() -> Iterator[str]:
        for line in lines:
            record.append(_RETURN.sub(_REPLACEMENT, line))
            yield record[-1]

    reader = csv.reader(remembered(), delimiter=seen.delimiter, strict=True)
    number = 1
    while True:
        record.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{name}, line {number}: {error}{_other_reading(seen)}") from error
        _check(fields, record, f"{name}, line {number}", seen)
        yield number, [value.replace(_REPLACEMENT, "\r") for value in fields]
        number = reader.line_num + 1


def _check(fields: list[str], record: list[str], location: str, seen: Lines) -> None:
    """Check that quotes mean what they look like.

    Args:
        fields: of the row.
        record: the lines of the row.
        location: of the row.
        seen: what the lines of the file show.

    Raises:
        UserError: blanks before a quote make it a part of the text, or a quote that is not closed on its
            line joins lines each of which could be a row.
    """
    if len(record) > 1 and _joins_rows(record, seen):
        raise UserError(
            f"{location}: a quote joins {len(record)} lines, which have the fields of rows; close or double"
            " the quote, or save the table as JSONL or parquet"
        )
    if any(value.startswith(" ") and value.lstrip(" ").startswith('"') for value in fields):
        skipping = csv.reader(record, delimiter=seen.delimiter, skipinitialspace=True)
        if [value.lstrip(" ") for value in fields] != [
            value.lstrip(" ") for value in next(skipping)
        ]:
            raise UserError(
                f"{location}: a blank before a quote makes the quote a part of the text; remove the blank"
            )


def _joins_rows(record: list[str], seen: Lines) -> bool:
    """Whether the lines of a row look like rows, and no doubled quote shows that the file is quoted."""
    if seen.doubled or seen.header or seen.width == 1:
        return False
    if seen.uneven is None:
        return True
    # A malformed line between two rows. (Texts contain commas, but hardly the tabs of a row twice.)
    ends = (record[0], record[-1])
    return (
        seen.delimiter == "\t"
        and seen.width > 2
        and len(record) > 2
        and all(1 + line.count("\t") == seen.width for line in ends)
    )


def _other_reading(seen: Lines) -> str:
    """Return why a TSV file that is not valid as a quoted one is not read without quoting."""
    if seen.delimiter == "," or seen.uneven is None:
        return ""
    return (
        f"; it is not a TSV without quoting, because line {seen.uneven} has another number of tabs than"
        " the header"
    )
