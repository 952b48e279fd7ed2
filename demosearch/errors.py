"""Exceptions that the command line shows as one line, and keeping them to one."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

# Of a message, in characters.
_LONGEST = 800
# What a disk or a folder may answer to a write; other errors of these kinds are mistakes of ours.
_OF_THE_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EFBIG,
    errno.ESTALE,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
}


def short(text: str) -> str:
    """Return the beginning of a text that is too long for one line of an error."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(error: BaseException, longest: int = _LONGEST) -> str:
    """Return the message of an error on one line, cut to a number of characters."""
    return " ".join(str(error).split())[:longest]


def reason_of(error: BaseException | None) -> str:
    """Return in one line why something failed."""
    # What the driver said; SQLAlchemy puts the statement and a link behind it.
    said = getattr(error, "orig", None) or error
    if isinstance(said, OSError) and said.strerror:
        place = f": {said.filename}" if said.filename else ""
        return f"{said.strerror}{place}"
    lines = str(said).strip().splitlines()
    return lines[0] if lines else type(said).__name__


def failure_of_the_machine(error: BaseException) -> str | None:
    """Return in one line what the machine refused: room, rights, memory, its database.

    None is another error.
    """
    for each in _chain(error):
        if isinstance(each, MemoryError):
            return "out of memory"
        if isinstance(each, OSError) and each.errno in _OF_THE_DISK:
            return reason_of(each)
        if isinstance(each, sqlite3.OperationalError) or _is_of_a_database(each):
            return f"the database: {reason_of(each)}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was said to be caused by.

    What was merely being handled when it was raised is no cause: the error may be a mistake of ours.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _is_of_a_database(error: BaseException) -> bool:
    """Whether SQLAlchemy says that a database could not do its part; it is not imported for that."""
    return any(kind.__name__ == "DBAPIError" for kind in type(error).__mro__)


class UserError(Exception):
    """Something the user can mend: a file, an option, a missing package.

    The message is one line: the rule, what came, where (file and row), and what to do. The command
    line prints it without a traceback and exits with status 2.

    Args:
        message: what is said.
        result: what the command came to all the same, as `--json` prints it.
    """

    def __init__(self, message: str, *, result: dict[str, Any] | None = None) -> None:
        # What came, or what another library said of it, may be long, or many lines.
        line = " ".join(message.split())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)
        self.result = result


class DeviceLostError(UserError):
    """A device's process ended by itself; what it was asked is not to blame."""


class OutOfMemoryError(UserError):
    """A device's memory is too small, or others hold too much of it."""


def first_error(error: ValidationError) -> str:
    """Return the first complaint of a validation on one line, with the field's place."""
    found = error.errors(include_url=False)
    first = found[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{place}: {message}{more}" if place else f"{message}{more}"
