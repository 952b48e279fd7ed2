"""Which versions a score was made with."""

from __future__ import annotations

import importlib.metadata

# What a score depends on.
PACKAGES = ("demosearch", "torch", "transformers", "tokenizers", "optuna")


def versions() -> dict[str, str]:
    """Return the installed versions of what a score depends on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}
