"""What has to hold before anything is written."""

from __future__ import annotations

from pathlib import Path

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.prompt import Prompt


def check_folder(out: str | Path) -> Path:
    """Return the folder if nothing is in it yet.

    Raises:
        UserError: something is.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} is there already; choose another folder")
    return out


def only_prompt(file: DemonstrationsFile) -> Prompt:
    """Return the file's prompt.

    Raises:
        UserError: there are several, or embeddings are centered.
    """
    if file.postprocess is not None:
        raise UserError(
            "embeddings are centered under this demonstrations file; here a plain prompt is wanted:"
            " use Embedder.load, or search without --center"
        )
    if len(file.prompts) > 1:
        raise UserError(
            f"{len(file.prompts)} prompts are averaged; here one is wanted:"
            " use Embedder.load, or search for a single prompt"
        )
    return Prompt.of(file.prompts[0])
