"""Pooling modules that sentence-transformers does not have."""

from __future__ import annotations

import torch
from torch import nn


class MaskPooling(nn.Module):
    """Returns the state of each text's last mask token; masks within the text precede it.

    Args:
        mask_id: id of the mask token.
    """

    def __init__(self, mask_id: int) -> None:
        super().__init__()
        self.mask_id = mask_id

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add `sentence_embedding`, (texts, width), to the features."""
        ids, states = features["input_ids"], features["token_embeddings"]
        positions = torch.arange(ids.shape[1], device=ids.device) * (ids == self.mask_id)
        rows = torch.arange(len(ids), device=ids.device)
        features["sentence_embedding"] = states[rows, positions.argmax(dim=1)]
        return features


class PretrainedPooling(nn.Module):
    """Applies the pooler that a model was pretrained with to the first token's state.

    Args:
        pooler: takes states (texts, tokens, width) and returns (texts, width).
    """

    def __init__(self, pooler: nn.Module) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add `sentence_embedding`, (texts, width), to the features."""
        features["sentence_embedding"] = self.pooler(features["token_embeddings"])
        return features
