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

    Attributes:
        lengths: tokens of each sentence, in order; their sum is the row's length.
        prefix: by layer, keys and values of the shared prefix, each (1, heads, n, width).
        device: where the model is.
        collect: keep this row's own keys and values by layer; that is how a prefix is made.
    """

    lengths: Sequence[int]
    prefix: dict[int, KeysAndValues] | None
    device: torch.device
    collect: bool = False
    collected: dict[int, KeysAndValues] = field(default_factory=dict)
    padded: torch.Tensor = field(init=False)
    real: torch.Tensor = field(init=False)
    _masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = torch.tensor(self.lengths)
        starts = lengths.cumsum(0) - lengths
        column = torch.arange(int(lengths.max()))
        inside = column < lengths[:, None]
        # Padding reads some real token; what comes out there is never looked at.
        padded = torch.where(inside, starts[:, None] + column, starts[:, None])
        self.padded = padded.to(self.device)
        self.real = inside.flatten().nonzero().squeeze(1).to(self.device)

    @property
    def prefix_length(self) -> int:
        """Tokens of the shared prefix."""
        return 0 if self.prefix is None else next(iter(self.prefix.values()))[0].shape[-2]

    def positions(self) -> torch.Tensor:
        """Return the position of every token, (1, tokens); each sentence follows the prefix."""
        width = self.padded.shape[1]
        column = torch.arange(width, device=self.device).expand_as(self.padded)
        return (column.flatten()[self.real] + self.prefix_length)[None]

    def last_tokens(self) -> torch.Tensor:
        """Return where in the row each sentence ends, (sentences,)."""
        return torch.tensor(self.lengths, device=self.device).cumsum(0) - 1

    def mask(self, window: int | None) -> torch.Tensor:
        """Return which key each query sees, bool (1, 1, queries, keys): those before it."""
        if window not in self._masks:
            before, width = self.prefix_length, self.padded.shape[1]
            query = torch.arange(before, before + width, device=self.device)[:, None]
            key = torch.arange(before + width, device=self.device)
            seen = key <= query
            if window is not None:
                seen &= key > query - window
            self._masks[window] = seen[None, None]
        return self._masks[window]


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
            packing = Packing([len(first), len(second)], None, model.device, collect=True)
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


def run_packed(
    model: PreTrainedModel, tokens: Sequence[int], packing: Packing, *, every_layer: bool = False
) -> Any:
    """Return the model's output for one row of packed tokens."""
    with packed(packing):
        return model(
            input_ids=torch.tensor([tokens], device=model.device),
            position_ids=packing.positions(),
            output_hidden_states=every_layer,
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
    **_: Any,
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
    queries, keys, values = (_by_sentence(each, packing) for each in (query, key, value))
    if packing.prefix is not None:
        before = [each.expand(len(packing.lengths), -1, -1, -1) for each in packing.prefix[layer]]
        keys = torch.cat((before[0], keys), dim=2)
        values = torch.cat((before[1], values), dim=2)
    groups = queries.shape[1] // keys.shape[1]
    if groups > 1:
        keys = keys.repeat_interleave(groups, dim=1)
        values = values.repeat_interleave(groups, dim=1)
    mask = packing.mask(sliding_window)
    if softcap is None:
        output = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=scaling
        )
    else:
        scale = scaling if scaling is not None else queries.shape[-1] ** -0.5
        products = softcap * torch.tanh(queries @ keys.transpose(2, 3) * scale / softcap)
        weights = products.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32)
        output = weights.to(queries.dtype) @ values
    flat = output.transpose(1, 2).flatten(0, 1)
    return flat[packing.real][None], None


def _by_sentence(states: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Return (1, heads, tokens, width) as (sentences, heads, longest, width)."""
    return states[0].transpose(0, 1)[packing.padded].transpose(1, 2)
