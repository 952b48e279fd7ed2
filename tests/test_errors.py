from __future__ import annotations

import errno
import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from demosearch.errors import UserError, failure_of_the_machine


def caused(error: Exception, cause: BaseException) -> Exception:
    """Return an error with what caused it."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "v.npy"), "No space left on device: v.npy"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (MemoryError(), "out of memory"),
        (
            sqlite3.OperationalError("database or disk is full"),
            "the database: database or disk is full",
        ),
        (
            caused(
                RuntimeError("could not commit"),
                OperationalError("SELECT 1", {}, Exception("server closed the connection\nunexpectedly")),
            ),
            "the database: server closed the connection",
        ),
        # Bugs of this package keep their traceback.
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), None),
        (KeyError("x"), None),
    ],
)  # fmt: skip
def test_errors_of_the_machine_are_distinguished_from_bugs(
    error: Exception, reason: str | None
) -> None:
    assert failure_of_the_machine(error) == reason


def test_a_cycle_of_causes_ends() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert failure_of_the_machine(first) is None


def test_a_message_is_one_line_of_limited_length() -> None:
    assert (
        str(UserError("cannot read x:\n  line 1\n\tcolumn 2")) == "cannot read x: line 1 column 2"
    )
    long = str(UserError(f"file {'x' * 5000}; choose another"))
    assert long.startswith("file xxx")
    assert long.endswith("x; choose another")
    assert len(long) < 850
