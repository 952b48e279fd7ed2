"""Exceptions that the command line shows as one line, and keeping them to one."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

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


def first_error(
    error: ValidationError, name: Callable[[tuple[int | str, ...]], str] | None = None
) -> str:
    """Return the first error of a validation on one line.

    Args:
        error: what pydantic raised.
        name: returns how the user knows the field at a location, e.g. `--shots`; None is its dotted
            path.
    """
    errors = error.errors(include_url=False)
    if name is not None:
        location = _field(errors[0]["loc"])
        return _sentence(name(location), [one for one in errors if _field(one["loc"]) == location])
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: {message}{more}" if place else f"{message}{more}"


def _field(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return a location without the members of a union, e.g. `int`, that pydantic appends."""
    members = ("literal[", "function-", "constrained-", "int", "float", "str", "bool", "list[")
    is_member = [isinstance(part, str) and part.startswith(members) for part in location]
    return location[: is_member.index(True)] if True in is_member[1:] else location


# What a value must be, by pydantic's types of errors.
_RULES = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "an integer"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    "string_type": "text",
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a group of settings"),
}
_BOUNDS = {"greater_than_equal": ("ge", ">="), "greater_than": ("gt", ">"),
           "less_than_equal": ("le", "<="), "less_than": ("lt", "<")}  # fmt: skip


def _sentence(name: str, errors: Sequence[ErrorDetails]) -> str:
    """Return the errors of one field as a sentence."""
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return f"{name} is not a known setting"
    if first["type"] == "missing":
        return f"{name} is required"
    if first["type"] in ("value_error", "assertion_error"):
        reason = first["msg"].partition(", ")[2]
        return f"{name} {reason}" if reason.startswith("must ") else f"{name}: {reason}"
    rules = list(dict.fromkeys(filter(None, map(_rule, errors))))
    if not rules:
        return f"{name}: {first['msg']}"
    return (
        f"{name} must be {' or '.join(rules)} but got {short(repr(first['input']).strip(chr(39)))}"
    )


def _rule(error: ErrorDetails) -> str | None:
    context = error.get("ctx", {})
    if error["type"] in ("literal_error", "enum"):
        return str(context["expected"]).replace("'", "")
    if error["type"] in _BOUNDS:
        key, sign = _BOUNDS[error["type"]]
        kind = "an integer" if isinstance(context[key], int) else "a number"
        return f"{kind} {sign} {context[key]:g}"
    return _RULES.get(error["type"])
