"""The ways out: what was found, in forms that others load without this package."""

from __future__ import annotations

from demosearch.export.folder import Exported, export_sentence_transformer
from demosearch.export.vllm import export_vllm

__all__ = ["Exported", "export_sentence_transformer", "export_vllm"]
