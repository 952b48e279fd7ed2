"""Errors that the command line reports on one line."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

# Maximum length of a message in characters.
_LONGEST = 800
# Errors of a disk or a folder; other errors of the operating system are bugs of this package.
_DISK_ERRORS = {
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
    """Return a text, shortened if it is too long for an error message."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(error: BaseException, longest: int = _LONGEST) -> str:
    """Return the message of an error on one line, cut to a number of characters."""
    return " ".join(str(error).split())[:longest]


def reason_of(error: BaseException | None) -> str:
    """Return the reason of an error on one line."""
    # The message of the database driver; SQLAlchemy appends the statement and a link to it.
    original = getattr(error, "orig", None) or error
    if isinstance(original, OSError) and original.strerror:
        path = f": {original.filename}" if original.filename else ""
        return f"{original.strerror}{path}"
    lines = str(original).strip().splitlines()
    return lines[0] if lines else type(original).__name__


def failure_of_the_machine(error: BaseException) -> str | None:
    """Return a one-line reason if the machine caused an error: disk, permissions, memory or database.

    None if the error has another cause.
    """
    for cause in _chain(error):
        if isinstance(cause, MemoryError):
            return "out of memory"
        if isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
            return reason_of(cause)
        if isinstance(cause, sqlite3.OperationalError) or _is_database_error(cause):
            return f"the database: {reason_of(cause)}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its explicit causes.

    An error that was merely being handled when this one was raised is not a cause, because this one may
    be a bug of this package.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _is_database_error(error: BaseException) -> bool:
    """Whether SQLAlchemy reports an error of the database; checked without importing SQLAlchemy."""
    return any(kind.__name__ == "DBAPIError" for kind in type(error).__mro__)


class UserError(Exception):
    """An error that the user can correct: a file, an option, a missing package.

    The message is one line: the rule, the value that was given, its file and row, and what to do. The
    command line prints it without a traceback and exits with status 2.

    Args:
        message: the message; line breaks are replaced by spaces.
        result: the result that the command has in spite of the error, as `--json` prints it.
    """

    def __init__(self, message: str, *, result: dict[str, Any] | None = None) -> None:
        # A value, or the message of another library, may be long or have several lines.
        line = " ".join(message.split())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)
        self.result = result


class DeviceLostError(UserError):
    """The process of a device ended; the prompt did not cause this."""


class OutOfMemoryError(UserError):
    """A device has too little free memory."""


def first_error(error: ValidationError) -> str:
    """Return the first complaint of a validation on one line, with the field's place."""
    found = error.errors(include_url=False)
    first = found[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{place}: {message}{more}" if place else f"{message}{more}"
