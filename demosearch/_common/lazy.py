"""Lazy imports: names of a package that are imported on first use.

Heavy libraries (torch, transformers, sentence-transformers, optuna, matplotlib) must not be imported for
`--help`, for checking options or for reading files. Packages therefore import their public names lazily,
and a few functions import such a library themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` function of a package.

    Args:
        package: the name of the package.
        homes: the module that defines each public name.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(homes[name]), name)

    return find
