"""Errors that the command line reports on one line."""

from __future__ import annotations

import difflib
import errno
import functools
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

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
        if isinstance(cause, OSError) and (
            cause.errno in _DISK_ERRORS or "temporary directory" in str(cause)
        ):
            # On a full disk, `tempfile` reports that it finds no temporary directory.
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
    """

    def __init__(self, message: str) -> None:
        # A value, or the message of another library, may be long or have several lines.
        line = " ".join(message.split())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)


class NotFiniteError(UserError):
    """An embedding, or another result of a model, is not finite.

    Args:
        text: the text that the model read.
        where: the layer, or another part of the model.
        precision: of the weights.
        row: index of the text in the input; None if the caller did not give it an order.
        location: of the text in its data, e.g. `stsb, pair 7`; replaces the row.
        what: what is not finite.
    """

    def __init__(
        self,
        text: str,
        where: str,
        precision: str,
        row: int | None = None,
        *,
        location: str = "",
        what: str = "the embedding",
    ) -> None:
        self.text, self.where, self.precision, self.row = text, where, precision, row
        self.location, self._what = location, what
        other = {"fp16": "bf16 or fp32", "fp32": ""}.get(precision, "fp32")
        advice = (
            f"use --precision {other}" if other else "the weights or the adapter may be damaged"
        )
        if not location and row is not None:
            location = f"row {row + 1}"
        super().__init__(
            f"{location}{': ' if location else ''}{what} of {short(repr(text))} is not finite at {where}"
            f" in {precision}; {advice}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        restore = functools.partial(type(self), location=self.location, what=self._what)
        return restore, (self.text, self.where, self.precision, self.row)

    def in_row(self, row: int | None) -> NotFiniteError:
        """Return the same error for a text in another row of a longer input, or in none."""
        return NotFiniteError(self.text, self.where, self.precision, row, what=self._what)

    def at(self, location: str) -> NotFiniteError:
        """Return the same error with the location of the text, e.g. `stsb, pair 7`."""
        return NotFiniteError(
            self.text, self.where, self.precision, self.row, location=location, what=self._what
        )


class DeviceLostError(UserError):
    """The process of a device ended; the prompt did not cause this."""


class OutOfMemoryError(UserError):
    """A device has too little free memory."""


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
