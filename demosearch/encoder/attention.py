"""Attention over sentences that are packed into one row behind a shared prefix.

A batch is one row of tokens without padding, so that matrix products, which are nearly all of the work,
process real tokens only. This module divides the row into its sentences again. Each sentence attends to
itself and to the keys and values of the prefix. Queries, keys and values come through transformers'
attention interface, so every model that uses this interface is supported without code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

NAME = "demosearch_packed"

KeysAndValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(slots=True)
class Packing:
    """How a row of tokens is divided into sentences.

    A model may be spread over several devices, so index tensors and masks are created once on each
    device that requests them.

    Attributes:
        lengths: number of tokens of each sentence, in order; their sum is the length of the row.
        prefix: keys and values of the shared prefix by layer, each (1, heads, n, width).
        collect: keep the keys and values of this row by layer, in order to use them as a prefix.
        collected: the keys and values that were kept.
    """

    lengths: Sequence[int]
    prefix: dict[int, KeysAndValues] | None = None
    collect: bool = False
    collected: dict[int, KeysAndValues] = field(default_factory=dict)
    _indices: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    _masks: dict[tuple[int | None, torch.device], torch.Tensor] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        """Number of tokens of the longest sentence."""
        return max(self.lengths)

    @property
    def prefix_length(self) -> int:
        """Number of tokens of the shared prefix."""
        return 0 if self.prefix is None else next(iter(self.prefix.values()))[0].shape[-2]

    def indices(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the indices that pad the row, and those that remove the padding again.

        Returns:
            The index in the row of each sentence's tokens, (sentences, longest), and the indices of
            the real tokens in that table when it is flattened, (tokens,).
        """
        if device not in self._indices:
            lengths = torch.tensor(self.lengths)
            starts = lengths.cumsum(0) - lengths
            column = torch.arange(self.longest)
            inside = column < lengths[:, None]
            # Padding points to a real token; its output is never used.
            padded = torch.where(inside, starts[:, None] + column, starts[:, None])
            real = inside.flatten().nonzero().squeeze(1)
            self._indices[device] = (padded.to(device), real.to(device))
        return self._indices[device]

    def positions(self) -> torch.Tensor:
        """Return the position of every token, (1, tokens); each sentence follows the prefix."""
        behind = torch.cat([torch.arange(length) for length in self.lengths])
        return (behind + self.prefix_length)[None]

    def mask(self, window: int | None, device: torch.device) -> torch.Tensor:
        """Return the causal mask, bool (1, 1, queries, keys): True where a query sees a key."""
        if (window, device) not in self._masks:
            before, width = self.prefix_length, self.longest
            query = torch.arange(before, before + width, device=device)[:, None]
            key = torch.arange(before + width, device=device)
            seen = key <= query
            if window is not None:
                seen &= key > query - window
            self._masks[window, device] = seen[None, None]
        return self._masks[window, device]


_current: ContextVar[Packing] = ContextVar("packing")


@contextmanager
def packed(packing: Packing) -> Iterator[None]:
    """Set the packing for forward passes inside this context."""
    token = _current.set(packing)
    try:
        yield
    finally:
        _current.reset(token)


def run_packed(model: PreTrainedModel, tokens: Sequence[int], packing: Packing) -> Any:
    """Return the model's output for one row of packed tokens.

    Outside this pass the model keeps its own attention, so that other callers of it get plain results.
    """
    own = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        with packed(packing):
            return model(
                input_ids=torch.tensor([tokens], device=model.device),
                position_ids=packing.positions().to(model.device),
                use_cache=False,
            )
    finally:
        model.set_attn_implementation(own)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention within each sentence of the row and to the prefix.

    Args:
        module: the attention layer; its `layer_idx` selects the keys and values of the prefix.
        query: (1, heads, tokens, width).
        key: (1, key heads, tokens, width).
        value: (1, key heads, tokens, width).
        attention_mask: ignored; the mask follows from the packing.
        scaling: factor of the products; None means 1/sqrt(width).
        sliding_window: number of keys that a query sees, including its own.
        softcap: bound of the products by tanh (Gemma 2).

    Returns:
        The output (1, tokens, heads, width), and None instead of attention weights.
    """
    packing = _current.get()
    del attention_mask
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if packing.collect:
        packing.collected[layer] = (key, value)
    padded, real = packing.indices(query.device)
    queries, keys, values = (
        tensor[0].transpose(0, 1)[padded].transpose(1, 2) for tensor in (query, key, value)
    )
    if packing.prefix is not None:
        before = [tensor.expand(len(padded), -1, -1, -1) for tensor in packing.prefix[layer]]
        keys = torch.cat((before[0], keys), dim=2)
        values = torch.cat((before[1], values), dim=2)
    sentences, heads, width, _ = queries.shape
    groups = heads // keys.shape[1]
    mask = packing.mask(sliding_window, query.device)
    if groups > 1:
        # The queries of heads that share keys are concatenated, which avoids copying the keys.
        queries = queries.reshape(sentences, -1, groups * width, queries.shape[-1])
        mask = mask.repeat(1, 1, groups, 1)
    if softcap is None:
        output = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=scaling
        )
    else:
        scale = scaling if scaling is not None else queries.shape[-1] ** -0.5
        products = softcap * torch.tanh(queries @ keys.transpose(2, 3) * scale / softcap)
        weights = products.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32)
        output = weights.to(queries.dtype) @ values
    by_head = output.reshape(sentences, heads, width, -1)
    return by_head.transpose(1, 2).flatten(0, 1)[real][None], None


# At import, so that a model that another process has saved by pickle, or sent, can run in this one.
AttentionInterface.register(NAME, packed_attention)
