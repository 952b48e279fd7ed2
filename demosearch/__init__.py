"""Find the in-context demonstrations that make a language model the best sentence encoder."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demosearch.demonstration import Demonstration
    from demosearch.embedder import Embedder
    from demosearch.encoder import Encoder
    from demosearch.errors import UserError
    from demosearch.prompt import Prompt
    from demosearch.selection.search import search

__version__ = "0.1.0"
__all__ = ["Demonstration", "Embedder", "Encoder", "Prompt", "UserError", "search"]

# Names are imported when they are asked for: `demosearch --help` must not wait for torch.
_HOMES = {
    "Demonstration": "demosearch.demonstration",
    "Embedder": "demosearch.embedder",
    "Encoder": "demosearch.encoder",
    "Prompt": "demosearch.prompt",
    "UserError": "demosearch.errors",
    "search": "demosearch.selection.search",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'demosearch' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
