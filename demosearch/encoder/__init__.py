"""Prompts in, pooled states out: tokens, packing, prefix cache, layers, replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.encoder.encoder import Encoder
    from demosearch.encoder.replicas import Replicas, open_encoder

__all__ = ["Encoder", "Replicas", "open_encoder"]

_HOMES = {
    "Encoder": "demosearch.encoder.encoder",
    "Replicas": "demosearch.encoder.replicas",
    "open_encoder": "demosearch.encoder.replicas",
}

__getattr__ = lazily(__name__, _HOMES)
