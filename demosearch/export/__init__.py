"""Exporting the result of a search in formats that load without this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.export.folder import Exported, export_sentence_transformer
    from demosearch.export.vllm import export_vllm

__all__ = ["Exported", "export_sentence_transformer", "export_vllm"]

_HOMES = {
    "Exported": "demosearch.export.folder",
    "export_sentence_transformer": "demosearch.export.folder",
    "export_vllm": "demosearch.export.vllm",
}

__getattr__ = lazily(__name__, _HOMES)
