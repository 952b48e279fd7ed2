"""The command line: read settings, call one public function, print one result."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from inspect import BoundArguments
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter

from demosearch import __version__
from demosearch._common.files import json_text
from demosearch._common.progress import complain, console, log_to_console
from demosearch.cli.commands import COMMANDS, EXAMPLES
from demosearch.cli.errors import describe
from demosearch.cli.options import Output
from demosearch.cli.outcome import Outcome
from demosearch.encoder import tensor_parallel
from demosearch.errors import UserError, failure_of_the_machine, short

# Of an example in the help, in characters.
_WIDTH = 72
# Seconds after which an interrupt that Python lost is repeated.
_REPEAT_AFTER = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    The status is 0, 1 for a result that should not be used, 2 for an error that the user can fix, or
    130 after an interrupt.
    """
    _quiet_other_libraries()
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _repeat_lost_interrupt
    output = Output()
    try:
        argv = sys.argv[1:] if argv is None else argv
        _check_encoding(argv)
        command, arguments = parse(argv)
        # Absent for `--help`, `--version` and `--print-completion`, which print themselves.
        output = arguments.arguments.get("output", output)
        log_to_console(
            logging.WARNING if output.quiet or tensor_parallel.follows() else logging.INFO
        )
        outcome = command(*arguments.args, **arguments.kwargs)
        if isinstance(outcome, Outcome):
            _print(outcome, output)
            if outcome.failure is not None:
                raise UserError(outcome.failure)
            if outcome.doubt is not None:
                complain(outcome.doubt)
                return 1
    except CycloptsError as error:
        complain(describe(error))
        return 2
    except UserError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        # A second Ctrl-C, while threads finish, ends the process immediately.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        console.print("demosearch: interrupted; re-run the command to resume")
        return 130
    except BrokenPipeError:
        # The reader of the output is closed; without this, Python reports it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not (reason := failure_of_the_machine(error)):
            raise
        complain(f"{reason}; fix this and re-run the command to resume")
        return 2
    finally:
        tensor_parallel.dismiss()
    return 0


def _check_encoding(argv: Sequence[str]) -> None:
    """Check that all arguments are valid Unicode, because they are written to files.

    Raises:
        UserError: one has a byte that is not UTF-8, e.g. in the name of a file.
    """
    for number, argument in enumerate(argv, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"argument {number} must be valid UTF-8 but got {short(repr(argument))}; rename the file or"
                " retype the value"
            ) from None


def parse(argv: Sequence[str]) -> tuple[Callable[..., Any], BoundArguments]:
    """Return the function of a command, and its arguments.

    Raises:
        CycloptsError: a command or an option is unknown, a value is wrong, or a required one is missing.
    """
    command, arguments, _ = build_app().parse_args(
        list(argv), print_error=False, exit_on_error=False
    )
    return command, arguments


def build_app() -> App:
    """Return the parser of all commands."""
    options = Group("Options")
    app = App(
        "demosearch",
        help="Find the in-context demonstrations that make a language model the best sentence"
        " encoder.",
        version=__version__,
        help_format="plaintext",
        help_epilogue=_examples(EXAMPLES),
        # Several values may follow an option that takes a list. Options have no `--no-` form unless
        # they define one.
        default_parameter=Parameter(negative=(), consume_multiple=1, show_default=_default_shown),
        suppress_keyboard_interrupt=False,
    )
    for index, command in enumerate(COMMANDS):
        app.command(
            command.path,
            name=command.name,
            help=command.summary,
            help_epilogue=_examples(command.examples),
            sort_key=index,
        )
    app.command(
        "demosearch.cli.completion:print_completion",
        name="--print-completion",
        group=options,
        help="Print the completion script of a shell: bash, zsh or fish.",
    )
    for flag, text in (
        ("--help", "Show this message, or the help of a command, and exit."),
        ("--version", "Show the version and exit."),
    ):
        app[flag].group = options
        app[flag].help = text
    return app


def _default_shown(value: Any) -> str | None:
    """Return a default value as `--help` shows it; None hides it."""
    return None if value is None or value is False or value == () else str(value)


def _examples(lines: Sequence[str]) -> str:
    """Return command lines as the end of a help text; long ones are continued before an option."""
    return "\n".join(["Examples:", *(f"  {_continued(line)}" for line in lines)])


def _continued(line: str) -> str:
    rows = [""]
    for part in re.split(r" (?=--|\|)", line):
        if rows[-1] and len(rows[-1]) + len(part) > _WIDTH:
            rows.append("")
        rows[-1] += f" {part}" if rows[-1] else part
    return " \\\n      ".join(rows)


def _print(outcome: Outcome, output: Output) -> None:
    # Of the processes that share a model or a training, the first one prints.
    if tensor_parallel.follows():
        return
    if output.json:
        sys.stdout.write(json_text(outcome.value, indent=None))
    else:
        outcome.show()
    sys.stdout.flush()


def _repeat_lost_interrupt(lost: Any) -> None:
    """Repeat a Ctrl-C that arrived where Python discards exceptions, e.g. in a finalizer."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(_REPEAT_AFTER, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _quiet_other_libraries() -> None:
    """Hide progress bars and warnings of other libraries; their errors still appear."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # The only progress bar is the one of this package.
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore")
    # On a CPU with bfloat16 it reports on import that a package of faster kernels is missing.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
