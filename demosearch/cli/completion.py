"""Scripts for shells to complete commands, options and file names."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

Shell: TypeAlias = Literal["bash", "zsh", "fish"]


def print_completion(shell: Annotated[Shell, Parameter(help="name of the shell")], /) -> None:
    """`demosearch --print-completion`."""
    # Here, because `app` imports this module when the command is used.
    from demosearch.cli.app import build_app

    script = build_app().generate_completion(shell=shell)
    # Where the library knows no completion, file names are completed: most of these options take a file.
    if shell == "bash":
        script = script.replace("complete -F", "complete -o default -F")
    elif shell == "zsh":
        script = re.sub(r"(\]:[\w-]+)'", r"\1:_files'", script)
    sys.stdout.write(f"{script}\n")
