"""Attention over sentences laid end to end behind one shared prefix.

A batch is one long row of tokens without padding, so that the matrix products, which are nearly all of
the work, see real tokens only. Here the row is cut into its sentences again, each of which attends to
the prefix's keys and values and to itself. transformers hands us queries, keys and values through its
attention interface, so that every model that uses the interface is served without code of its own.
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

from demosearch.errors import UserError

NAME = "demosearch_packed"
# Relative distance of two states of one sentence: rounding in 16 bits stays below it.
SAME = 0.05

KeysAndValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(slots=True)
class Packing:
    """How one row of tokens is made of sentences.

    A model may be spread over several devices, so what follows from the lengths is made on the
    device of whoever asks, once each.

    Attributes:
        lengths: tokens of each sentence, in order; their sum is the row's length.
        prefix: by layer, keys and values of the shared prefix, each (1, heads, n, width).
        collect: keep this row's own keys and values by layer; that is how a prefix is made.
    """

    lengths: Sequence[int]
    prefix: dict[int, KeysAndValues] | None = None
    collect: bool = False
    collected: dict[int, KeysAndValues] = field(default_factory=dict)
    _places: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    _masks: dict[tuple[int | None, torch.device], torch.Tensor] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        """Tokens of the longest sentence."""
        return max(self.lengths)

    @property
    def prefix_length(self) -> int:
        """Tokens of the shared prefix."""
        return 0 if self.prefix is None else next(iter(self.prefix.values()))[0].shape[-2]

    def places(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the tokens are.

        Returns:
            For each sentence the places of its tokens in the row, (sentences, longest), and which of
            the places in that table, flattened, are tokens, (tokens,).
        """
        if device not in self._places:
            lengths = torch.tensor(self.lengths)
            starts = lengths.cumsum(0) - lengths
            column = torch.arange(self.longest)
            inside = column < lengths[:, None]
            # Padding reads some real token; what comes out there is never looked at.
            padded = torch.where(inside, starts[:, None] + column, starts[:, None])
            real = inside.flatten().nonzero().squeeze(1)
            self._places[device] = (padded.to(device), real.to(device))
        return self._places[device]

    def positions(self) -> torch.Tensor:
        """Return the position of every token, (1, tokens); each sentence follows the prefix."""
        behind = torch.cat([torch.arange(length) for length in self.lengths])
        return (behind + self.prefix_length)[None]

    def mask(self, window: int | None, device: torch.device) -> torch.Tensor:
        """Return which key each query sees, bool (1, 1, queries, keys): those before it."""
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
    """Let the model's attention know how the row of the forward pass inside is packed."""
    token = _current.set(packing)
    try:
        yield
    finally:
        _current.reset(token)


def use_packed_attention(model: PreTrainedModel) -> None:
    """Make a model attend by packing, and make sure that it does.

    A model may mix tokens outside transformers' attention interface (state-space layers, for one).
    Packed, its sentences would see each other, so one sentence is encoded plainly and packed behind
    another, and the states are compared.

    Raises:
        UserError: the model cannot be packed.
    """
    kind = model.config.model_type
    first, second = [3, 5, 7, 11], [4, 8, 6, 9, 5]
    AttentionInterface.register(NAME, packed_attention)
    try:
        with torch.inference_mode():
            ids = torch.tensor([second], device=model.device)
            alone = model(input_ids=ids, use_cache=False).last_hidden_state[0, -1].float()
            model.set_attn_implementation(NAME)
            packing = Packing([len(first), len(second)], collect=True)
            together = (
                run_packed(model, [*first, *second], packing).last_hidden_state[0, -1].float()
            )
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"models of type '{kind}' cannot be encoded here: {reason}") from error
    every_layer = len(packing.collected) == model.config.num_hidden_layers
    if not every_layer or (together - alone).norm() > SAME * alone.norm():
        raise UserError(
            f"models of type '{kind}' cannot be encoded here: not all of their layers attend through"
            " transformers' attention interface as this version knows it"
        )


def run_packed(model: PreTrainedModel, tokens: Sequence[int], packing: Packing) -> Any:
    """Return the model's output for one row of packed tokens."""
    with packed(packing):
        return model(
            input_ids=torch.tensor([tokens], device=model.device),
            position_ids=packing.positions().to(model.device),
            use_cache=False,
        )


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
    """Attend inside each sentence of the row, and to the prefix.

    Args:
        module: the attention layer; its `layer_idx` finds the prefix's keys and values.
        query: (1, heads, tokens, width).
        key: (1, key heads, tokens, width).
        value: (1, key heads, tokens, width).
        attention_mask: not used: which token sees which follows from the packing.
        scaling: factor of the products; None is 1/sqrt(width).
        sliding_window: how many keys back a query sees, itself included.
        softcap: bound of the products by tanh (Gemma 2).

    Returns:
        What transformers expects: (1, tokens, heads, width), and no weights.
    """
    packing = _current.get()
    del attention_mask
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if packing.collect:
        packing.collected[layer] = (key, value)
    padded, real = packing.places(query.device)
    queries, keys, values = (
        each[0].transpose(0, 1)[padded].transpose(1, 2) for each in (query, key, value)
    )
    if packing.prefix is not None:
        before = [each.expand(len(padded), -1, -1, -1) for each in packing.prefix[layer]]
        keys = torch.cat((before[0], keys), dim=2)
        values = torch.cat((before[1], values), dim=2)
    sentences, heads, width, _ = queries.shape
    groups = heads // keys.shape[1]
    mask = packing.mask(sliding_window, query.device)
    if groups > 1:
        # Heads that share keys are laid behind one another, which copies no keys.
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
