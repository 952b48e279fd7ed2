"""Taking the pooled state of each sentence out of a packed row."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from demosearch.encoder.batching import Row


class SentencePooling:
    """Pools the states of each sentence of a packed row.

    Args:
        batch: the rows that are packed, in order.
    """

    def __init__(self, batch: Sequence[Row]) -> None:
        ends = itertools.accumulate(map(len, batch))
        self._stops = [end - row.tokens.behind for end, row in zip(ends, batch, strict=True)]
        self._counts = [row.tokens.pooled for row in batch]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return (sentences, width) from (1, tokens, width)."""
        device = states.device
        if set(self._counts) == {1}:
            return states[0, torch.tensor(self._stops, device=device) - 1]
        counts = torch.tensor(self._counts, device=device)
        spans = zip(self._stops, self._counts, strict=True)
        positions = torch.cat([torch.arange(stop - count, stop) for stop, count in spans])
        owners = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
        sums = torch.zeros(len(counts), states.shape[-1], device=device)
        sums.index_add_(0, owners, states[0, positions.to(device)].float())
        return sums / counts[:, None]
