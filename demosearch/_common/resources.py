"""Finding the word lists and pipelines that travel with the package."""

from __future__ import annotations

from pathlib import Path

from demosearch.errors import UserError


def resource(folder: str, name: str = "") -> Path:
    """Return the path of a shipped file or folder: inside the package first, then the checkout.

    Raises:
        UserError: it is in neither place.
    """
    package = Path(__file__).parent.parent
    for root in (package, package.parent):
        path = root / folder / name
        if path.exists():
            return path
    raise UserError(f"{folder}/{name} is missing from this installation; install demosearch again")
