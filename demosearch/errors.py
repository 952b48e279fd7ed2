"""Exceptions that the command line shows as one line, and keeping them to one."""

from __future__ import annotations


def short(text: str) -> str:
    """Return the beginning of a text that is too long for one line of an error."""
    return text if len(text) <= 60 else f"{text[:57]}..."


class UserError(Exception):
    """Something the user can mend: a file, an option, a missing package.

    The message is one line: the rule, what came, where (file and row), and what to do. The command
    line prints it without a traceback and exits with status 2.
    """


class DeviceLostError(UserError):
    """A device's process ended by itself; what it was asked is not to blame."""


class OutOfMemoryError(UserError):
    """A device's memory is too small, or others hold too much of it."""
