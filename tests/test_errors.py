from __future__ import annotations

import errno
import sqlite3
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy.exc import OperationalError

from demosearch.errors import UserError, failure_of_the_machine, first_error


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


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    votes: Annotated[int, Field(ge=1)] = 1
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    name: str = Field("x", min_length=1)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    layer: Literal["last", "auto"] | int = "last"
    shots: Annotated[int, Field(ge=1)] = 1
    patience: Annotated[int, Field(lt=9)] | None = None
    color: Color = Color.RED
    save: bool = False
    files: tuple[str, ...] = ()
    budget: str = "1"
    inner: Inner = Inner()
    rows: list[Inner] = []

    @field_validator("budget")
    @classmethod
    def _check(cls, value: str) -> str:
        if value == "x":
            raise ValueError("budget must be a time but got 'x'; give it as 10m")
        if value == "y":
            raise ValueError("must be a time")
        if value == "z":
            raise ValueError("cannot be read")
        return value


class Required(BaseModel):
    sentence: str


def invalid(value: object, model: type[BaseModel] = Outer) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return caught.value


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"shots": 0}, "shots must be an integer >= 1 but got 0"),
        ({"shots": "many"}, "shots must be an integer but got 'many'"),
        ({"shots": 1.5}, "shots must be an integer but got 1.5"),
        ({"shots": None}, "shots must be an integer but got None"),
        ({"patience": 9}, "patience must be an integer < 9 but got 9"),
        ({"inner": {"share": 0}}, "inner.share must be a number > 0.0 but got 0"),
        ({"inner": {"share": 2}}, "inner.share must be a number <= 1.0 but got 2"),
        ({"inner": {"share": "half"}}, "inner.share must be a number but got 'half'"),
        ({"inner": {"name": ""}}, "inner.name must be a non-empty string but got ''"),
        ({"inner": 3}, "inner must be a mapping but got 3"),
        ({"rows": [{}, {"votes": "x"}]}, "rows.1.votes must be an integer but got 'x'"),
        ({"layer": "first"}, "layer must be last, auto or an integer but got 'first'"),
        ({"layer": 1.5}, "layer must be last, auto or an integer but got 1.5"),
        ({"color": "green"}, "color must be red or blue but got 'green'"),
        ({"save": "maybe"}, "save must be true or false but got 'maybe'"),
        ({"files": "a"}, "files must be a list but got 'a'"),
        ({"files": [1]}, "files.0 must be a string but got 1"),
        ({"budget": "x"}, "budget must be a time but got 'x'; give it as 10m"),
        ({"budget": "y"}, "budget must be a time"),
        ({"budget": "z"}, "budget: cannot be read"),
        ({"shot": 2}, "unknown setting 'shot'; did you mean 'shots'?"),
        ({"inner": {"vote": 2}}, "unknown setting 'inner.vote'; did you mean 'inner.votes'?"),
        ({"zebra": 2}, "unknown setting 'zebra'"),
        ({"shots": "x" * 100}, f"shots must be an integer but got '{'x' * 56}..."),
        ({"layer": "x", "shots": 0}, "layer must be last, auto or an integer but got 'x' (and 1 more)"),
        ([], "must be a mapping but got []"),
    ],
)  # fmt: skip
def test_a_validation_error_becomes_one_line(value: object, line: str) -> None:
    assert first_error(invalid(value), model=Outer) == line


def test_a_missing_field_is_named() -> None:
    assert first_error(invalid({}, Required)) == "sentence is missing"


@pytest.mark.parametrize(
    ("value", "by_prefix", "by_function"),
    [
        ({"shots": 0}, "pipeline x.yaml: shots must be an integer >= 1", "--shots must be an integer >= 1"),
        ({"budget": "x"}, "pipeline x.yaml: budget must be a time", "--budget must be a time"),
        ({"budget": "z"}, "pipeline x.yaml: budget: cannot be read", "--budget: cannot be read"),
        ({"shot": 2}, "pipeline x.yaml: unknown setting 'shot'; did you mean 'shots'?",
         "--shot: unknown setting; did you mean 'shots'?"),
        ([], "pipeline x.yaml: must be a mapping", "-- must be a mapping"),
    ],
)  # fmt: skip
def test_a_field_is_named_as_the_user_typed_it(
    value: Any, by_prefix: str, by_function: str
) -> None:
    error = invalid(value)
    assert first_error(error, "pipeline x.yaml: ", model=Outer).startswith(by_prefix)
    named = first_error(error, lambda location: f"--{'.'.join(map(str, location))}", model=Outer)
    assert named.startswith(by_function)


def test_an_unknown_field_is_called_by_a_given_noun() -> None:
    assert first_error(invalid({"shot": 2}), noun="field") == "unknown field 'shot'"
