"""Exceptions that the command line shows as one line, and keeping them to one."""

from __future__ import annotations

import difflib
import errno
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
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


_Location: TypeAlias = tuple[int | str, ...]


def first_error(
    error: ValidationError,
    name: str | Callable[[_Location], str] = "",
    *,
    model: type[BaseModel] | None = None,
    noun: str = "setting",
) -> str:
    """Return the first problem that a validation reports, as `<name> must be ... but got ...`.

    The problems of a union's members count as one problem of their field.

    Args:
        error: raised by pydantic.
        name: a text in front of the field's dotted location, such as `"pipeline x.yaml: "`, or a
            function that returns the name of a location as the user typed it, such as `--shots`.
        model: the validated model; the most similar field is suggested for an unknown one.
        noun: what an unknown field is called.
    """
    problems: dict[_Location, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        problems.setdefault(_field(detail["loc"]), []).append(detail)
    location, details = next(iter(problems.items()))
    if details[0]["type"] == "extra_forbidden":
        line = _unknown(location, name, noun) + _suggestion(location, model)
    else:
        line = _named(location, name) + _rule(details, str(location[-1]) if location else "")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{line.strip()}{more}"


# A union's member in a location, such as `literal['last','auto']` or `int`.
_MEMBER = re.compile(r".*\W.*|int|str|float|bool|none", re.DOTALL)


def _field(location: _Location) -> _Location:
    """Return a location without the union's member at its end."""
    if len(location) > 1 and isinstance(location[-1], str) and _MEMBER.fullmatch(location[-1]):
        return location[:-1]
    return location


def _dotted(location: _Location) -> str:
    return ".".join(map(str, location))


def _named(location: _Location, name: str | Callable[[_Location], str]) -> str:
    if isinstance(name, str):
        return f"{name}{_dotted(location)}".rstrip()
    return name(location)


def _unknown(location: _Location, name: str | Callable[[_Location], str], noun: str) -> str:
    if isinstance(name, str):
        return f"{name}unknown {noun} '{_dotted(location)}'"
    return f"{name(location).rstrip(':')}: unknown {noun}"


def _suggestion(location: _Location, model: type[BaseModel] | None) -> str:
    """Return a question that names the most similar field, or nothing."""
    inner: Any = model
    for part in location[:-1]:
        field = getattr(inner, "model_fields", {}).get(part)
        inner = field.annotation if field else None
    known = list(getattr(inner, "model_fields", {}))
    similar = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean '{_dotted((*location[:-1], *similar))}'?" if similar else ""


def _rule(details: Sequence[ErrorDetails], field: str) -> str:
    """Return the part of the message after the field's name."""
    first = details[0]
    if first["type"] == "missing":
        return " is missing"
    expected = [text for detail in details for text in _expected(detail)]
    if len(expected) >= len(details):
        *others, last = expected
        choices = f"{', '.join(others)} or {last}" if others else last
        return f" must be {choices} but got {short(repr(first['input']))}"
    message = first["msg"].removeprefix("Value error, ")
    # A validator's own message may begin with the name of its field.
    rest = message.removeprefix(f"{field} ")
    is_sentence = rest != message or message.startswith("must ") or not field
    return f" {rest}" if is_sentence else f": {message}"


def _expected(detail: ErrorDetails) -> list[str]:
    """Return descriptions of the valid values; an empty list for other types of errors."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return re.findall("'(.*?)'", context["expected"]) or [context["expected"]]
    if kind in _SIGNS:
        # pydantic gives the limit in the field's own type.
        (limit,) = context.values()
        return [f"{'an integer' if isinstance(limit, int) else 'a number'} {_SIGNS[kind]} {limit}"]
    if kind == "string_too_short" and context["min_length"] == 1:
        return ["a non-empty string"]
    return [text for kinds, text in _EXPECTED.items() if kind in kinds]


_SIGNS = {
    "greater_than_equal": ">=",
    "greater_than": ">",
    "less_than_equal": "<=",
    "less_than": "<",
}
_EXPECTED = {
    ("int_parsing", "int_type", "int_from_float", "int_parsing_size"): "an integer",
    ("float_parsing", "float_type"): "a number",
    ("finite_number",): "a finite number",
    ("bool_parsing", "bool_type"): "true or false",
    ("string_type",): "a string",
    ("list_type", "tuple_type"): "a list",
    ("dict_type", "model_type", "model_attributes_type"): "a mapping",
}
