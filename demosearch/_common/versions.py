"""The versions of packages on which scores depend."""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress

# Packages on which scores depend.
PACKAGES = ("demosearch", "torch", "transformers", "tokenizers", "optuna")


def versions(*also: str) -> dict[str, str]:
    """Return the installed versions of the packages on which scores depend.

    Args:
        *also: other packages, which are left out if they are not installed.
    """
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    for name in also:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed
