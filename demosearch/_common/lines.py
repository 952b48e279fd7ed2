r"""What a line is: `\n` or `\r\n` ends one, and nothing else does, as for `wc -l` and `split -l`.

A last line without an end counts. A carriage return elsewhere, VT, FF, NEL, U+2028 and U+2029 are characters
of a text, although `str.splitlines` and the universal newlines of `open` end lines at some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from demosearch.errors import UserError

_BOM = b"\xef\xbb\xbf"


def raw_lines(file: IO[bytes], name: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their ends, without a byte-order mark.

    Args:
        file: the file, opened in binary mode.
        name: of the file, for the error message.

    Raises:
        UserError: a line is not UTF-8.
    """
    offset = 0
    for number, line in enumerate(file, start=1):
        skipped = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
        try:
            yield line[skipped:].decode()
        except UnicodeDecodeError as error:
            position = offset + skipped + error.start
            raise UserError(f"{name} is not UTF-8 text (byte {position}, line {number})") from error
        offset += len(line)


def lines_of(file: IO[bytes], name: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file without their ends; see `raw_lines`."""
    return map(without_end, raw_lines(file, name))


def without_end(line: str) -> str:
    r"""Return a line without the `\n` or `\r\n` that ends it.

    >>> without_end("a\r\n"), without_end("a\r")
    ('a', 'a\r')
    """
    return line[:-1].removesuffix("\r") if line.endswith("\n") else line


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text without their ends.

    >>> split_lines("a\u2028b\r\nc\rd\n\ne")
    ['a\u2028b', 'c\rd', '', 'e']
    """
    *ended, rest = text.split("\n")
    return [*(line.removesuffix("\r") for line in ended), *([rest] if rest else [])]
