"""Errors of the command line, each one on one line that names the option as it was typed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import cyclopts
from cyclopts.exceptions import (
    ConsumeMultipleError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic import ValidationError

from demosearch.errors import first_error, short


def describe(error: cyclopts.CycloptsError) -> str:
    """Return what is wrong with the arguments of a command, and what to do about it."""
    command = " ".join(["demosearch", *(error.command_chain or ())])
    more = f"see `{command} --help`"
    match error:
        case UnknownCommandError(unused_tokens=[token, *_]):
            # The commands are compared by name: the library's own message would import all of them.
            return f"unknown command '{token}'; {_suggestion(token, error.app or ()) or more}"
        case UnknownOptionError():
            option = error.token.keyword or error.token.value
            options = (name for one in error.argument_collection for name in one.names)
            return f"unknown option {option}; {_suggestion(option, options) or more}"
        case UnusedCliTokensError(unused_tokens=[token, *_]):
            return f"unexpected argument '{token}'; {more}"
        case RepeatArgumentError():
            return f"{error.token.keyword} must be given once"
        case ConsumeMultipleError():
            return f"{error.keyword or _name(error)} requires a value; {more}"
        case MissingArgumentError():
            if error.keyword is not None:
                return f"{error.keyword} requires a value; {more}"
            unknown = next((one for one in error.unused_tokens or () if one.startswith("--")), "")
            if error.argument and (suggestion := _suggestion(unknown, error.argument.names)):
                return f"unknown option {unknown}; {suggestion}"
            return f"{_name(error)} is required; {more}"
        case cyclopts.CoercionError():
            if error.token and error.token.keyword is None and error.token.value.startswith("--"):
                return f"unknown option {error.token.value}; {_option_like(error) or more}"
            return _of_value(error)
        case cyclopts.ValidationError() if isinstance(error.__cause__, ValidationError):
            return of_options(error.__cause__)
    return " ".join(str(error).split())


def of_options(error: ValidationError) -> str:
    """Return the first error of a model whose fields are options."""
    message = first_error(error, lambda location: f"--{str(location[0]).replace('_', '-')}")
    # Values of options are text; a number is shown as it was typed, without quotes.
    return re.sub(r"but got '(-?\d+(?:\.\d+)?)'", r"but got \1", message)


def _of_value(error: cyclopts.CoercionError) -> str:
    name = (error.token and error.token.keyword) or _name(error)
    if error.msg is not None:
        return f"{name} {error.msg}"
    choices = error.argument.get_choices() if error.argument else None
    if choices:
        *others, last = choices
        rule = f"{', '.join(others)} or {last}"
    else:
        rule = {int: "an integer", float: "a number", bool: "true or false"}.get(
            error.target_type or str, "another value"
        )
    value = f" but got '{short(error.token.value)}'" if error.token else ""
    return f"{name} must be {rule}{value}"


def _name(error: cyclopts.CycloptsError) -> str:
    """Return the name of an option, or of an argument in capitals as `--help` shows it."""
    if error.argument is None:
        return "argument"
    name = error.argument.name
    return name if name.startswith("-") else name.upper()


def _option_like(error: cyclopts.CoercionError) -> str:
    """Return a suggestion for an option that was taken for a positional argument."""
    if not (error.token and error.app):
        return ""
    options = (name for one in error.app.assemble_argument_collection() for name in one.positives)
    return _suggestion(error.token.value, options)


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""
