"""Which versions a score was made with."""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress

# What a score depends on.
PACKAGES = ("demosearch", "torch", "transformers", "tokenizers", "optuna")


def versions(*also: str) -> dict[str, str]:
    """Return the installed versions of what a score depends on, and of other packages if installed."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    for name in also:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
