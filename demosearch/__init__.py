"""Find the in-context demonstrations that make a language model the best sentence encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.demonstration import Demonstration
    from demosearch.embedder import Embedder
    from demosearch.encoder.encoder import Encoder
    from demosearch.errors import UserError
    from demosearch.prompt import Prompt
    from demosearch.selection.search import search

__version__ = "0.1.0"
__all__ = ["Demonstration", "Embedder", "Encoder", "Prompt", "UserError", "search"]

# Names are imported on first use, so that `demosearch --help` does not import torch.
_HOMES = {
    "Demonstration": "demosearch.demonstration",
    "Embedder": "demosearch.embedder",
    "Encoder": "demosearch.encoder.encoder",
    "Prompt": "demosearch.prompt",
    "UserError": "demosearch.errors",
    "search": "demosearch.selection.search",
}

__getattr__ = lazily(__name__, _HOMES)
