"""Prompted sentences in, pooled states out.

The part of the prompt before the text (with its demonstrations most of the tokens) is the same for
every sentence, so its keys and values are computed once a prompt and shared by all batches. The rest
of the prompts is laid end to end without padding (`demosearch.encoder.attention`), each sentence at the
positions it has behind the prefix, which equals encoding it alone.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from demosearch.encoder import tensor_parallel
from demosearch.encoder.attention import KeysAndValues, Packing, run_packed, use_packed_attention
from demosearch.encoder.layers import pooled_states, state_width
from demosearch.encoder.tokens import PromptTokenizer, Tokens
from demosearch.errors import OutOfMemoryError, UserError
from demosearch.metrics.similarity import cosine
from demosearch.models.known import resolve
from demosearch.models.loading import LoadedModel, arithmetic_of, load
from demosearch.models.memory import find_token_budget, is_out_of_memory, release
from demosearch.models.options import LoadOptions
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Row:
    """One distinct prompt: its place in the output, and the tokens that still have to be run."""

    place: int
    tokens: Tokens

    def __len__(self) -> int:
        return len(self.tokens.ids)


class Encoder:
    """A base model that turns texts into pooled states of a chosen layer.

    Args:
        model: a decoder-only base model without head.
        tokenizer: its tokenizer.
        record: what the weights are; goes into every exported file.
        adapter: the LoRA on them, if any.
        token_budget: tokens in one forward pass; None finds it from the device's free memory. It is
            halved when a pass does not fit after all.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        record: ModelRecord,
        *,
        adapter: AdapterRecord | None = None,
        token_budget: int | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.record = record
        self.adapter = adapter
        self.token_budget = token_budget or find_token_budget(model)
        self.max_tokens = int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)
        self.layers = int(model.config.num_hidden_layers)
        # How many may ask it at a time.
        self.concurrency = 1
        self._tokenize = PromptTokenizer(tokenizer, self.max_tokens)
        self._split = False
        use_packed_attention(model)

    @property
    def arithmetic(self) -> str:
        """The kind of device and the number format in which states are computed."""
        return arithmetic_of(self.model.device, self.model.dtype)

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens a prompt has without a text."""
        return self._tokenize.length(prompt)

    @classmethod
    def load(cls, name: str, options: LoadOptions | None = None, **keywords: Any) -> Encoder:
        """Load a model by known name, hub id or folder.

        Under torchrun the model is split over its processes; in all but the first this does not
        return: they compute along until the first one ends, and end.

        Args:
            name: the model.
            options: precision, devices, adapter; several devices share the model's layers.
            **keywords: fields of `LoadOptions`, e.g. `precision="bf16"`.

        Raises:
            UserError: the name is unknown or the weights cannot be loaded.
        """
        options = LoadOptions.of(options, **keywords)
        split = tensor_parallel.processes() > 1
        encoder = cls.of(load(resolve(name), options, split=split), options.token_budget)
        encoder._split = split
        if tensor_parallel.follows():
            tensor_parallel.follow(encoder)
            raise SystemExit(0)
        if split:
            tensor_parallel.lead()
        return encoder

    @classmethod
    def of(cls, loaded: LoadedModel, token_budget: int | None = None) -> Encoder:
        """Wrap a model that is already in memory."""
        return cls(
            loaded.model,
            loaded.tokenizer,
            loaded.record,
            adapter=loaded.adapter,
            token_budget=token_budget,
        )

    def resolve_layer(self, layer: int | None) -> int:
        """Return the index into `hidden_states` that `layer` stands for; None is the last.

        Raises:
            UserError: the model has no such layer.
        """
        return resolve_layer(layer, self.layers)

    def width(self, layer: int | None) -> int:
        """Return how many numbers a layer's states have; None is the last layer."""
        return state_width(self.model.config, layer)

    def encode(
        self, texts: Sequence[str], prompt: Prompt, *, advance: Advance | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of `texts` under `prompt`, in the order of `texts`.

        Texts that are equal after preparation go through the model once, and only through the layers
        that the prompt's layer needs. A text that is too long for the model is shortened; the
        template around it stays whole.

        Args:
            texts: any number of texts; empty text is allowed.
            prompt: template, demonstrations and layer.
            advance: called with the number of texts done after every batch.

        Returns:
            float32 array of shape (len(texts), width), not normalised.

        Raises:
            UserError: the prompt alone is too long for the model, or one text for the memory.
        """
        return self.encode_layers(texts, prompt, [prompt.layer], advance=advance)[0]

    def encode_layers(
        self,
        texts: Sequence[str],
        prompt: Prompt,
        layers: Sequence[int | None] | None = None,
        *,
        advance: Advance | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return the embeddings at several layers, all from one pass.

        Only the pooled states are kept, so that all layers of a model cost little more than one.

        Args:
            texts: any number of texts.
            prompt: template and demonstrations; its layer is not looked at.
            layers: indices into transformers' `hidden_states`; None is all of them, from the
                embeddings (0) to the last.
            advance: called with the number of texts done after every batch.

        Returns:
            For each layer float32 (len(texts), width). The width may differ at OPT-350M's last.

        Raises:
            UserError: as `encode`.
        """
        wanted = range(self.layers + 1) if layers is None else layers
        resolved = [self.resolve_layer(layer) for layer in wanted]
        if self._split and not tensor_parallel.follows():
            step = tensor_parallel.Pass(list(texts), prompt, resolved, self.token_budget)
            tensor_parallel.announce(step)
        prepared = [prompt.prepare(text) for text in texts]
        distinct = list(dict.fromkeys(prepared))
        copies = Counter(prepared)
        done = [
            np.zeros((len(distinct), self.width(layer)), dtype=np.float32) for layer in resolved
        ]
        for places, states in self._batches(distinct, prompt, resolved):
            for rows, found in zip(done, states, strict=True):
                rows[places] = found
            if advance:
                advance(sum(copies[distinct[place]] for place in places))
        if len(distinct) == len(texts):
            return done
        place = {text: row for row, text in enumerate(distinct)}
        order = [place[text] for text in prepared]
        return [rows[order] for rows in done]

    def compare(
        self,
        texts: Sequence[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        first: Sequence[int],
        second: Sequence[int],
    ) -> NDArray[np.float32]:
        """Return the cosine similarity of pairs of texts at several layers, all from one pass.

        Args:
            texts: each of them once.
            prompt: template and demonstrations; its layer is not looked at.
            layers: indices into `hidden_states`.
            first: place in `texts` of each pair's first text.
            second: place in `texts` of each pair's second text.

        Returns:
            float32 (layers, pairs); nan where a state is zero or not finite.

        Raises:
            UserError: as `encode`.
        """
        places = list(first), list(second)
        states = self.encode_layers(texts, prompt, layers)
        return np.stack([cosine(*(each[side] for side in places)) for each in states])

    def _batches(
        self, texts: list[str], prompt: Prompt, layers: Sequence[int]
    ) -> Iterator[tuple[list[int], list[NDArray[np.float32]]]]:
        """Yield the places and states of one batch after the other."""
        if not texts:
            return
        tokens = self._tokenize(texts, prompt)
        shared = shared_prefix([row.ids[: len(row.ids) - row.needed] for row in tokens])
        rest: list[_Row] = []
        whole: list[_Row] = []
        for place, row in enumerate(tokens):
            own = len(row.ids) - len(shared)
            if shared and own >= row.needed and row.ids[: len(shared)] == shared:
                rest.append(_Row(place, Tokens(row.ids[len(shared) :], row.pooled, row.behind)))
            else:
                whole.append(_Row(place, row))
        with torch.inference_mode():
            prefix = self._prefix(shared) if shared else None
            for rows, cache in ((rest, prefix), (whole, None)):
                yield from self._run(rows, cache, layers)

    def _run(
        self, rows: list[_Row], prefix: dict[int, KeysAndValues] | None, layers: Sequence[int]
    ) -> Iterator[tuple[list[int], list[NDArray[np.float32]]]]:
        """Yield the batches' states; where memory runs out, go on with half the budget."""
        waiting = list(batches(rows, self.token_budget))[::-1]
        while waiting:
            batch = waiting[-1]
            try:
                states = self._forward(batch, prefix, layers)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                states = None
            if states is None:
                # Outside the handler, so that the failed pass holds no memory any more.
                self._halve(batch)
                left = [row for each in waiting for row in each]
                waiting = list(batches(left, self.token_budget))[::-1]
                continue
            waiting.pop()
            yield [row.place for row in batch], states

    def _halve(self, batch: Sequence[_Row]) -> None:
        release(self.model.device)
        if self._split:
            raise OutOfMemoryError(
                f"out of memory with {self.token_budget} tokens a pass; split over more processes"
            )
        if len(batch) == 1:
            raise OutOfMemoryError(
                f"one text of {len(batch[0])} tokens does not fit the memory of"
                f" {self.model.device}; use a smaller --precision or more --devices"
            )
        # A row may be longer than the budget; half of what was tried is sure to be less.
        tried = min(self.token_budget, sum(map(len, batch)))
        self.token_budget = max(1, tried // 2)
        logger.warning("out of memory: going on with %d tokens a pass", self.token_budget)

    def _prefix(self, tokens: list[int]) -> dict[int, KeysAndValues]:
        """Return the shared prefix's keys and values by layer, each (1, heads, n, width)."""
        packing = Packing([len(tokens)], collect=True)
        run_packed(self.model, tokens, packing)
        return packing.collected

    def _forward(
        self,
        batch: Sequence[_Row],
        prefix: dict[int, KeysAndValues] | None,
        layers: Sequence[int],
    ) -> list[NDArray[np.float32]]:
        """Return the pooled states of one batch by layer, each float32 (len(batch), width)."""
        packing = Packing([len(row) for row in batch], prefix)
        row = [token for each in batch for token in each.tokens.ids]
        pool = _Pooling(batch)
        states = pooled_states(self.model, row, packing, layers, pool)
        return [np.asarray(each.float().cpu(), dtype=np.float32) for each in states]


class _Pooling:
    """Takes each sentence's pooled states out of a packed row."""

    def __init__(self, batch: Sequence[_Row]) -> None:
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
        places = torch.cat([torch.arange(stop - count, stop) for stop, count in spans])
        owners = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
        sums = torch.zeros(len(counts), states.shape[-1], device=device)
        sums.index_add_(0, owners, states[0, places.to(device)].float())
        return sums / counts[:, None]


def resolve_layer(layer: int | None, layers: int) -> int:
    """Return the index into the `hidden_states` of a model with so many layers; None is the last.

    Raises:
        UserError: the model has no such layer.
    """
    resolved = layers if layer is None else layer + (layers + 1 if layer < 0 else 0)
    if not 0 <= resolved <= layers:
        raise UserError(f"layer {layer} is outside 0..{layers}")
    return resolved


def shared_prefix(rows: list[list[int]]) -> list[int]:
    """Return the token prefix whose caching saves the most tokens.

    A prefix of n tokens that k rows begin with saves n * (k - 1). It is found on token ids, never
    on text: punctuation at the start of a text may merge with the template's opening quote.

    Args:
        rows: what each prompt may share, i.e. all but the tokens that are pooled and those behind.

    >>> shared_prefix([[1, 2, 3], [1, 2, 3], [1]])
    [1, 2, 3]
    >>> shared_prefix([[1, 2, 3], [1, 2, 4], [1, 2]])
    [1, 2]
    """
    best: list[int] = []
    saved = 0
    current = list(rows)
    for length in itertools.count(1):
        current = [row for row in current if len(row) >= length]
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
    for row in sorted(rows, key=lambda row: (-len(row), row.place)):
        if batch and tokens + len(row) > token_budget:
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += len(row)
    if batch:
        yield batch
