"""Scripts by which a shell completes commands, options, files and known names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

SHELLS = ("bash", "zsh", "fish", "tcsh")
_FILES = ("F", "F.json", "F.html", "F|dev", "INPUT", "RESULT", "D", "D[,D...]", "M", "P")
_FOLDERS = ("DIR",)
# Their letters stand for something else.
_NO_FILES = ("device", "ensemble")


class PrintCompletion(argparse.Action):
    """Prints a shell's script and ends."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Print the script for the shell that `values` names."""
        del namespace, option_string
        import shtab

        for action in _actions(parser):
            if action.dest in _NO_FILES:
                continue
            if action.metavar in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar in _FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        sys.stdout.write(shtab.complete(parser, values) + "\n")
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
