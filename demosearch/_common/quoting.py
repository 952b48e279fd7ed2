"""Whether the quotes of a TSV file are quoting, or characters of its texts.

GLUE's and SentEval's files do not use quoting: every line is a row, and a quote is a character. pandas, csv
and spreadsheets write quoted files. A file is one of the two as a whole:

1. If no field begins with a quote, both readings are the same.
2. If a line has another number of tabs than the header, the file is quoted: a text contains a tab or a line
   break. (If that reading fails too, the file is refused.)
3. Otherwise every line can be a row of its own. If a field contains a quote but is not in quotes with its
   inner quotes doubled, the file is not quoted. The exception is a file that is valid as a quoted one, with
   fields that span lines: a doubled inner quote shows that it is quoted, and a table of one column without
   one is refused. (In a table of several columns, a text with just the tabs that make each of its lines a
   row is far less likely than lines that are rows.)
4. If each field that contains a quote is in quotes, the file is quoted if the quotes are a writer's: a field
   has a doubled inner quote or is `""`, a name in the header is in quotes, or each column is in quotes in all
   rows or in none. Otherwise the quotes are quotations. The file is refused if most fields of a column are in
   quotes, or exactly those with a comma, as spreadsheets write them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from demosearch._common.lines import without_end
from demosearch.errors import UserError

# A field in quotes, its inner quotes doubled.
_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_FIELD = rf'(?:{_QUOTED.pattern}|[^"\t]*)'


@dataclass
class Lines:
    """What the lines of a table show if each is a row, and quotes are characters.

    Attributes:
        delimiter: between fields.
        width: number of fields of the header; 0 means an empty file.
        rows: number of rows below the header.
        uneven: number of the first line that has another number of fields than the header.
        opening: number of the first line with a field that begins with a quote.
        spanning: whether a line has an odd number of quotes, so that a field may span lines.
        broken: whether a field contains a quote but is not a field in quotes.
        doubled: whether a field in quotes can only be a writer's: its text contains a quote or a carriage
            return, or is empty.
        header: whether a name in the header is in quotes.
        quoted: number of fields in quotes in each column.
        comma: whether each field in quotes contains a comma, and no other field does.
    """

    delimiter: str
    width: int = 0
    rows: int = 0
    uneven: int | None = None
    opening: int | None = None
    spanning: bool = False
    broken: bool = False
    doubled: bool = False
    header: bool = False
    quoted: Counter[int] = field(default_factory=Counter)
    comma: bool = True

    @classmethod
    def of(cls, lines: Iterable[str], delimiter: str) -> Lines:
        """Return what the lines of a table show; empty lines are not rows.

        Args:
            lines: with their ends.
            delimiter: between fields.
        """
        seen = cls(delimiter)
        for number, ended in enumerate(lines, start=1):
            if line := without_end(ended):
                seen._add(line, number)
        return seen

    def _add(self, line: str, number: int) -> None:
        width = 1 + line.count(self.delimiter)
        is_header = not self.width
        if is_header:
            self.width = width
        else:
            self.rows += 1
        if width != self.width and self.uneven is None:
            self.uneven = number
        if '"' not in line:
            self.comma &= is_header or "," not in line
            return
        self.spanning |= line.count('"') % 2 == 1
        for column, value in enumerate(line.split(self.delimiter)):
            self._add_field(value, number, column, is_header)

    def _add_field(self, value: str, number: int, column: int, is_header: bool) -> None:
        if '"' not in value:
            self.comma &= is_header or "," not in value
            return
        if value.startswith('"') and self.opening is None:
            self.opening = number
        if _QUOTED.fullmatch(value) is None:
            self.broken = True
            return
        inner = value[1:-1]
        self.doubled |= not inner or '"' in inner or "\r" in inner
        if is_header:
            self.header = True
        else:
            self.quoted[column] += 1
            self.comma &= "," in inner


def is_quoted(seen: Lines, lines: Iterable[str], name: str) -> bool:
    """Whether a TSV file is quoted, by the rule of this module.

    Args:
        seen: what its lines show.
        lines: its lines, which are read again only if they fit both readings.
        name: of the file, for the error message.

    Raises:
        UserError: the file fits both readings.
    """
    if seen.opening is None:
        return False
    if seen.uneven is not None:
        return True
    if seen.broken:
        return _spans_lines(seen, lines, name)
    if seen.doubled or seen.header:
        return True
    if all(count == seen.rows for count in seen.quoted.values()):
        return True
    if seen.comma or any(2 * count > seen.rows for count in seen.quoted.values()):
        raise _ambiguous(f"{name}, line {seen.opening}: the quotes around a field may")
    return False


def _spans_lines(seen: Lines, lines: Iterable[str], name: str) -> bool:
    """Whether a file whose quotes are not closed on their lines is quoted."""
    if seen.width > 1 and not seen.doubled:
        return False
    fields = re.compile(rf"{_FIELD}(?:\t{_FIELD}){{{seen.width - 1}}}")
    for number, record in _records(lines):
        if record and fields.fullmatch(record) is None:
            return False
        if "\n" in record and not seen.doubled:
            raise _ambiguous(
                f"{name}, line {number}: the quote may begin a text of several lines, or"
            )
    return True


def _records(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each row of a quoted file with the number of its first line; a row has its quotes in pairs."""
    record: list[str] = []
    quotes = 0
    for number, line in enumerate(lines, start=1):
        record.append(line)
        quotes += line.count('"')
        if quotes % 2 == 0:
            yield number - len(record) + 1, without_end("".join(record))
            record.clear()
    if record:
        yield number - len(record) + 1, "".join(record)


def _ambiguous(what: str) -> UserError:
    return UserError(
        f"{what} belong to the text; save the table as CSV, JSONL or parquet, which are unambiguous"
    )
