"""Forward passes over batches of prompts: packed behind their shared prefix, or plain.

Packed prompts are computed with as little work as possible. Plain prompts go through the model as
transformers runs it: each batch holds prompts of one length without padding, so that each prompt has
the state that it has alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from demosearch.encoder.attention import KeysAndValues, Packing, run_packed
from demosearch.encoder.batching import Row, split_off_prefix
from demosearch.encoder.layers import all_states, pooled_states
from demosearch.encoder.pooling import SentencePooling
from demosearch.encoder.tokens import Tokens

# More tokens than any prompt has.
UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts that are computed in the same way.

    Attributes:
        rows: the prompts, without the tokens of the prefix.
        packed: whether they are packed; otherwise only prompts of one length may share a batch.
        prefix: keys and values of the prefix by layer, each (1, heads, n, width).
    """

    rows: Sequence[Row]
    packed: bool
    prefix: dict[int, KeysAndValues] | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """A base model, and how prompts go through it.

    Attributes:
        model: the base model.
        longest_packed: maximum number of tokens of a packed prompt; 0 if packing is not exact.
        hooks: whether the inputs of the layers are transformers' `hidden_states`, so that hooks can read
            them. Otherwise transformers collects the states of all layers.
    """

    model: PreTrainedModel
    longest_packed: int = UNLIMITED
    hooks: bool = True

    def groups(self, prompts: Sequence[Tokens]) -> Iterator[Group]:
        """Yield the prompts in groups; the prefix that they share is computed here."""
        rows = [Row(index, tokens) for index, tokens in enumerate(prompts)]
        packed = [row for row in rows if len(row) <= self.longest_packed]
        prefix, behind, apart = split_off_prefix(packed)
        yield Group(behind, packed=True, prefix=self._prefix(prefix) if prefix else None)
        yield Group(apart, packed=True)
        yield Group([row for row in rows if len(row) > self.longest_packed], packed=False)

    def states(
        self, batch: Sequence[Row], group: Group, layers: Sequence[int]
    ) -> list[torch.Tensor]:
        """Return the pooled states of a batch of a group by layer, each (len(batch), width)."""
        pool = SentencePooling(batch)
        if group.packed:
            packing = Packing([len(row) for row in batch], group.prefix)
            tokens = [token for row in batch for token in row.tokens.ids]
            return pooled_states(
                self.model, lambda: run_packed(self.model, tokens, packing), layers, pool
            )
        ids = torch.tensor([row.tokens.ids for row in batch], device=self.model.device)

        # Prompts of one length follow one another as in a packed row.
        def pool_plain(states: torch.Tensor) -> torch.Tensor:
            return pool(states.flatten(0, 1)[None])

        if not self.hooks:
            by_layer = all_states(self.model, ids)
            return [pool_plain(by_layer[layer]) for layer in layers]
        return pooled_states(
            self.model, lambda: self.model(input_ids=ids, use_cache=False), layers, pool_plain
        )

    def _prefix(self, tokens: list[int]) -> dict[int, KeysAndValues]:
        packing = Packing([len(tokens)], collect=True)
        run_packed(self.model, tokens, packing)
        if len(packing.collected) != self.model.config.num_hidden_layers:
            raise ValueError("not all layers use transformers' attention interface")
        return packing.collected
