"""Paths of the word lists and pipelines that are part of the package."""

from __future__ import annotations

from pathlib import Path

from demosearch.errors import UserError


def resource(folder: str, name: str = "") -> Path:
    """Return the path of a packaged file or folder, or of the same file in a checkout.

    Args:
        folder: `wordlists` or `pipelines`.
        name: of a file in the folder; empty for the folder itself.

    Raises:
        UserError: the file is missing.
    """
    package = Path(__file__).parent.parent
    for root in (package, package.parent):
        path = root / folder / name
        if path.exists():
            return path
    raise UserError(f"{folder}/{name} is missing from this installation; reinstall demosearch")
