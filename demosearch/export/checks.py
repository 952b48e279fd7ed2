"""Checks before anything is written."""

from __future__ import annotations

from pathlib import Path

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.prompt import Prompt


def check_folder(out: str | Path) -> Path:
    """Return the folder if it does not exist yet or is empty.

    Raises:
        UserError: it is not empty.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out must be a new or empty folder but got {out}; choose another folder")
    return out


def only_prompt(file: DemonstrationsFile) -> Prompt:
    """Return the only prompt of a demonstrations file.

    Raises:
        UserError: there are several prompts.
    """
    if len(file.prompts) > 1:
        raise UserError(
            f"the demonstrations file must have one prompt but got {len(file.prompts)}; use"
            " Embedder.load, or search with --ensemble 1"
        )
    return Prompt.of(file.prompts[0])
