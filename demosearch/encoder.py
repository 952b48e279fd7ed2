"""Prompted sentences in, last-token states out.

The part of the prompt before the text (with its demonstrations most of the tokens) is the same for
every sentence, so its keys and values are computed once a prompt and shared by all batches. The rest
of the prompts is laid end to end without padding (`demosearch.attention`), each sentence at the
positions it has behind the prefix, which equals encoding it alone.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from demosearch.attention import KeysAndValues, Packing, run_packed, use_packed_attention
from demosearch.demonstration import ModelRecord
from demosearch.errors import UserError
from demosearch.models import LoadedModel, Precision, load, resolve
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

DEFAULT_TOKEN_BUDGET = 2048

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Row:
    """One distinct prompt: its place in the output, and the tokens that still have to be run."""

    place: int
    tokens: list[int]


class Encoder:
    """A base model that turns texts into the last token's state of a chosen layer.

    Args:
        model: a decoder-only base model without head.
        tokenizer: its tokenizer.
        record: what the weights are; goes into every exported file.
        token_budget: tokens in one forward pass.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        record: ModelRecord,
        *,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.record = record
        self.token_budget = token_budget
        self.max_tokens = int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)
        self.layers = int(model.config.num_hidden_layers)
        self._beginning = _beginning_tokens(tokenizer)
        use_packed_attention(model)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        precision: Precision | str | None = None,
        device: str | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
    ) -> Encoder:
        """Load a model by known name, hub id or folder.

        Raises:
            UserError: the name is unknown or the weights cannot be loaded.
        """
        wanted = None if precision is None else Precision(precision)
        return cls.of(load(resolve(name), precision=wanted, device=device), token_budget)

    @classmethod
    def of(cls, loaded: LoadedModel, token_budget: int = DEFAULT_TOKEN_BUDGET) -> Encoder:
        """Wrap a model that is already in memory."""
        return cls(loaded.model, loaded.tokenizer, loaded.record, token_budget=token_budget)

    def resolve_layer(self, layer: int | None) -> int:
        """Return the index into `hidden_states` that `layer` stands for; None is the last.

        Raises:
            UserError: the model has no such layer.
        """
        resolved = self.layers if layer is None else layer + (self.layers + 1 if layer < 0 else 0)
        if not 0 <= resolved <= self.layers:
            raise UserError(f"layer {layer} is outside 0..{self.layers}")
        return resolved

    def encode(
        self, texts: Sequence[str], prompt: Prompt, *, advance: Advance | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of `texts` under `prompt`, in the order of `texts`.

        Texts that are equal after preparation go through the model once. A text that is too long
        for the model is shortened; the template around it stays whole.

        Args:
            texts: any number of texts; empty text is allowed.
            prompt: template, demonstrations and layer.
            advance: called with the number of texts done after every batch.

        Returns:
            float32 array of shape (len(texts), width), not normalised.

        Raises:
            UserError: the prompt alone is too long for the model.
        """
        prepared = [prompt.prepare(text) for text in texts]
        distinct = list(dict.fromkeys(prepared))
        place = {text: index for index, text in enumerate(distinct)}
        copies = Counter(prepared)
        done: list[NDArray[np.float32] | None] = [None] * len(distinct)
        layer = self.resolve_layer(prompt.layer)
        for indices, states in self._encode_distinct(distinct, prompt, layer):
            for index, state in zip(indices, states, strict=True):
                done[index] = state
            if advance:
                advance(sum(copies[distinct[index]] for index in indices))
        if not texts:
            return np.zeros((0, self._width(layer)), dtype=np.float32)
        rows = [state for state in done if state is not None]
        return np.stack(rows)[[place[text] for text in prepared]]

    def _encode_distinct(
        self, texts: list[str], prompt: Prompt, layer: int
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield the places and states of one batch after the other."""
        if not texts:
            return
        tokens = self._tokenize(texts, prompt)
        shared = shared_prefix(tokens)
        rest: list[_Row] = []
        whole: list[_Row] = []
        for index, ids in enumerate(tokens):
            if shared and len(ids) > len(shared) and ids[: len(shared)] == shared:
                rest.append(_Row(index, ids[len(shared) :]))
            else:
                whole.append(_Row(index, ids))
        with torch.inference_mode():
            prefix = self._prefix(shared) if shared else None
            for rows, cache in ((rest, prefix), (whole, None)):
                for batch in batches(rows, self.token_budget):
                    states = self._forward([row.tokens for row in batch], cache, layer)
                    yield [row.place for row in batch], states

    def _tokenize(self, texts: list[str], prompt: Prompt) -> list[list[int]]:
        """Return the prompts' token ids, each with the model's own beginning and fitted to it."""
        head, tail = prompt.head, prompt.tail
        tokens = self._ids([head + text + tail for text in texts])
        room = self.max_tokens
        long = [index for index, ids in enumerate(tokens) if len(ids) > room]
        for index in long:
            tokens[index] = self._shorten(texts[index], head, tail, room)
        if long:
            logger.warning(
                "%d of %d texts are longer than the model's %d tokens and were shortened",
                len(long),
                len(texts),
                room,
            )
        return tokens

    def _shorten(self, text: str, head: str, tail: str, room: int) -> list[int]:
        """Return the tokens of the prompt with so much of the text as fits, cut between its tokens."""
        empty = self._ids([head + tail])[0]
        if len(empty) > room:
            raise UserError(
                f"the prompt without any text has {len(empty)} tokens, the model takes {room};"
                " use fewer or shorter demonstrations"
            )
        alone = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in alone["offset_mapping"]]
        # Tokens may merge with the template's, so a few more than the room may fit.
        for keep in range(min(len(ends), room - len(empty) + 2), 0, -1):
            ids = self._ids([head + text[: ends[keep - 1]] + tail])[0]
            if len(ids) <= room:
                return ids
        return empty

    def _ids(self, prompts: list[str]) -> list[list[int]]:
        ids = self.tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
        return [self._beginning + row for row in ids]

    def _prefix(self, tokens: list[int]) -> dict[int, KeysAndValues]:
        """Return the shared prefix's keys and values by layer, each (1, heads, n, width)."""
        packing = Packing([len(tokens)], None, self.model.device, collect=True)
        run_packed(self.model, tokens, packing)
        return packing.collected

    def _forward(
        self, rows: list[list[int]], prefix: dict[int, KeysAndValues] | None, layer: int
    ) -> NDArray[np.float32]:
        """Return the last tokens' states of one batch, float32 (len(rows), width)."""
        packing = Packing([len(row) for row in rows], prefix, self.model.device)
        last_layer = layer == self.layers
        tokens = [token for row in rows for token in row]
        output = run_packed(self.model, tokens, packing, every_layer=not last_layer)
        states = output.last_hidden_state if last_layer else output.hidden_states[layer]
        return np.asarray(states[0, packing.last_tokens()].float().cpu(), dtype=np.float32)

    def _width(self, layer: int) -> int:
        config = self.model.config
        # OPT-350M alone projects its last layer to another width.
        projected = getattr(config, "word_embed_proj_dim", None)
        width = projected if layer == self.layers and projected else config.hidden_size
        return int(width)


def shared_prefix(rows: list[list[int]]) -> list[int]:
    """Return the token prefix whose caching saves the most tokens.

    A prefix of n tokens that k rows begin with saves n * (k - 1). It is found on token ids, never
    on text: punctuation at the start of a text may merge with the template's opening quote. Every
    row keeps at least one token of its own.

    >>> shared_prefix([[1, 2, 3, 7], [1, 2, 3, 8], [1, 9]])
    [1, 2, 3]
    >>> shared_prefix([[1, 2, 3, 7], [1, 2, 3, 8], [1, 2, 9]])
    [1, 2]
    """
    best: list[int] = []
    saved = 0
    current = list(rows)
    for length in itertools.count(1):
        current = [row for row in current if len(row) > length]
        if len(current) < 2:
            return best
        token, count = Counter(row[length - 1] for row in current).most_common(1)[0]
        current = [row for row in current if row[length - 1] == token]
        if length * (count - 1) > saved:
            best, saved = current[0][:length], length * (count - 1)
        elif count * max(map(len, current)) <= saved:
            return best
    raise AssertionError("unreachable: rows are finite")


def batches(rows: list[_Row], token_budget: int) -> Iterator[list[_Row]]:
    """Yield rows from long to short, so many at a time that their tokens fit the budget.

    A row longer than the budget is a batch of its own. Neighbours in length share a batch because
    attention, alone, pads them to the longest.
    """
    batch: list[_Row] = []
    tokens = 0
    for row in sorted(rows, key=lambda row: (-len(row.tokens), row.place)):
        if batch and tokens + len(row.tokens) > token_budget:
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += len(row.tokens)
    if batch:
        yield batch


def _beginning_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens the tokenizer puts in front by itself: `[bos]` for OPT and LLaMA, or none."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return list(full[:start])
    return []
