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
        # Mistakes of ours keep their traceback.
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), None),
        (KeyError("x"), None),
    ],
)  # fmt: skip
def test_what_the_machine_refuses_is_told_from_mistakes_of_ours(
    error: Exception, reason: str | None
) -> None:
    assert failure_of_the_machine(error) == reason


def test_errors_that_are_each_others_cause_are_looked_through_once() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert failure_of_the_machine(first) is None


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    assert (
        str(UserError("cannot read x:\n  line 1\n\tcolumn 2")) == "cannot read x: line 1 column 2"
    )
    long = str(UserError(f"file {'x' * 5000}; choose another"))
    assert long.startswith("file xxx")
    assert long.endswith("x; choose another")
    assert len(long) < 850
