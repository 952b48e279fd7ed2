"""What a command returns to the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command, in both forms that the command line can print.

    Attributes:
        value: the value that `--json` prints.
        show: prints the result for a person.
        failure: the part that failed, if a command failed in part; the exit status is 2.
        doubt: why the result should not be used, although the command did what it was asked to; the
            exit status is 1.
    """

    value: Any
    show: Callable[[], None]
    failure: str | None = None
    doubt: str | None = None
