"""Encoding prompted sentences into pooled states.

The part of the prompt before the text, which holds the demonstrations and most of the tokens, is the
same for every sentence. Its keys and values are computed once per prompt and shared by all batches. The
remaining tokens are packed into one row without padding (`demosearch.encoder.attention`). Each sentence
keeps the positions that it has behind the prefix, so the result equals encoding it alone.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from demosearch._common.containers import as_texts
from demosearch.encoder import tensor_parallel
from demosearch.encoder.batching import Row, batches
from demosearch.encoder.forward import Group
from demosearch.encoder.layers import context_length, resolve_layer, state_width
from demosearch.encoder.route import find_forward
from demosearch.encoder.token_budget import find_token_budget, is_out_of_memory, release
from demosearch.encoder.tokens import PromptTokenizer
from demosearch.errors import NotFiniteError, OutOfMemoryError
from demosearch.metrics.similarity import cosine
from demosearch.models.known import resolve
from demosearch.models.loading import LoadedModel, load
from demosearch.models.options import LoadOptions
from demosearch.models.precision import arithmetic_of
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.models.unembedding import read_unembedding
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Advance = Callable[[int], None]


class Encoder:
    """A base model that turns texts into pooled states of a chosen layer.

    Several threads may call an encoder at the same time; the calls run one after another, and each one
    returns what it returns alone.

    Args:
        model: a decoder-only base model without head.
        tokenizer: its tokenizer.
        record: the exact weights; part of every exported file.
        adapter: the LoRA on the weights, if any.
        token_budget: tokens in one forward pass; None derives it from the device's free memory. It is
            halved if a forward pass runs out of memory.
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
        # First of all, because it refuses models that are not decoders.
        self._forward = find_forward(model)
        self.model = model
        self.tokenizer = tokenizer
        self.record = record
        self.adapter = adapter
        self.token_budget = token_budget or find_token_budget(model)
        self.max_tokens = context_length(model.config)
        self.layers = int(model.config.num_hidden_layers)
        # Number of calls that run at the same time; other threads wait.
        self.concurrency = 1
        # Hooks on the model, the tokenizer's cache and the token budget belong to one call at a time.
        # Reentrant, because `advance` may call the encoder.
        self._lock = threading.RLock()
        self._tokenize = PromptTokenizer(tokenizer, self.max_tokens)
        self._split = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling and copying; a lock belongs to one process and one encoder."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or copied encoder."""
        vars(self).update(state, _lock=threading.RLock())

    @property
    def arithmetic(self) -> str:
        """The kind of device and the type in which states are computed, e.g. `cpu, float32`."""
        return arithmetic_of(self.model.device, self.model.dtype)

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt without a text."""
        with self._lock:
            return self._tokenize.length(prompt)

    @classmethod
    def load(cls, name: str, options: LoadOptions | None = None, **keywords: Any) -> Encoder:
        """Load a model by known name, hub id, folder or GGUF file.

        Under torchrun the model is split over all processes. In every process but the first one this
        method does not return: the process takes part in the computations of the first one until that
        one ends.

        Args:
            name: known name, hub id, folder or GGUF file.
            options: precision, devices and adapter; layers are spread over several devices.
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
        """Return the non-negative index into `hidden_states` of a layer; None is the last layer.

        Raises:
            UserError: the model has no such layer.
        """
        return resolve_layer(layer, self.layers)

    def unembedding(self) -> NDArray[np.float32]:
        """Return the matrix that turns the last state into logits, float32 (vocabulary, width).

        Raises:
            UserError: the weights do not contain it in a format that can be read.
        """
        return read_unembedding(self.model, self.record.name)

    def width(self, layer: int | None) -> int:
        """Return the width of a layer's states; None is the last layer."""
        return state_width(self.model.config, layer)

    def encode(
        self, texts: Iterable[str], prompt: Prompt, *, advance: Advance | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of `texts` under `prompt`, in the order of `texts`.

        Texts that are equal after preparation go through the model once, and only through the layers
        that the prompt's layer requires. A text that is too long for the model is shortened; the
        template around it stays whole.

        Args:
            texts: any number of texts; empty texts are allowed.
            prompt: template, demonstrations and layer.
            advance: called after every batch with the number of texts that it completed.

        Returns:
            float32 array of shape (len(texts), width), not normalized.

        Raises:
            UserError: the prompt alone is too long for the model, one text for the memory, a state is
                not finite, or `texts` is not a container of texts.
        """
        return self.encode_layers(texts, prompt, [prompt.layer], advance=advance)[0]

    def encode_layers(
        self,
        texts: Iterable[str],
        prompt: Prompt,
        layers: Sequence[int | None] | None = None,
        *,
        advance: Advance | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return the embeddings at several layers from a single pass.

        Only the pooled states are kept, so that all layers of a model cost little more than one.

        Args:
            texts: any number of texts.
            prompt: template and demonstrations; its layer is ignored.
            layers: indices into transformers' `hidden_states`; None means all of them, from the
                embeddings (0) to the last.
            advance: called after every batch with the number of texts that it completed.

        Returns:
            For each layer float32 (len(texts), width). The width of OPT-350M's last layer differs from
            that of the other layers.

        Raises:
            UserError: as `encode`.
        """
        wanted = range(self.layers + 1) if layers is None else layers
        resolved = [self.resolve_layer(layer) for layer in wanted]
        with self._lock:
            return self._encode_layers(as_texts(texts), prompt, resolved, advance)

    def _encode_layers(
        self,
        texts: list[str],
        prompt: Prompt,
        resolved: list[int],
        advance: Advance | None,
    ) -> list[NDArray[np.float32]]:
        if self._split and not tensor_parallel.follows():
            step = tensor_parallel.Pass(texts, prompt, resolved, self.token_budget)
            tensor_parallel.announce(step)
        prepared = [prompt.prepare(text) for text in texts]
        distinct = list(dict.fromkeys(prepared))
        copies = Counter(prepared)
        outputs = [
            np.zeros((len(distinct), self.width(layer)), dtype=np.float32) for layer in resolved
        ]
        for indices, states in self._batches(distinct, prompt, resolved):
            for layer, output, layer_states in zip(resolved, outputs, states, strict=True):
                output[indices] = layer_states
                if not (is_finite := np.isfinite(layer_states).all(axis=1)).all():
                    # The distinct texts are in the order in which they occur first.
                    bad = min(indices[index] for index in np.flatnonzero(~is_finite))
                    row = prepared.index(distinct[bad])
                    where = f"layer {layer}"
                    raise NotFiniteError(texts[row], where, self.record.precision, row)
            if advance:
                advance(sum(copies[distinct[index]] for index in indices))
        if len(distinct) == len(texts):
            return outputs
        row_of = {text: row for row, text in enumerate(distinct)}
        rows = [row_of[text] for text in prepared]
        return [output[rows] for output in outputs]

    def compare(
        self,
        texts: Iterable[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        first: Sequence[int],
        second: Sequence[int],
    ) -> NDArray[np.float32]:
        """Return the cosine similarity of pairs of texts at several layers from a single pass.

        Args:
            texts: the distinct texts.
            prompt: template and demonstrations; its layer is ignored.
            layers: indices into `hidden_states`.
            first: index into `texts` of each pair's first text.
            second: index into `texts` of each pair's second text.

        Returns:
            float32 (layers, pairs); 0 where a state is zero.

        Raises:
            UserError: as `encode`.
        """
        left, right = list(first), list(second)
        try:
            by_layer = self.encode_layers(texts, prompt, layers)
        except NotFiniteError as error:
            # These texts are the distinct ones of the pairs, so a row would mean nothing to a reader.
            raise error.in_row(None) from None
        return np.stack([cosine(states[left], states[right]) for states in by_layer])

    def _batches(
        self, texts: list[str], prompt: Prompt, layers: Sequence[int]
    ) -> Iterator[tuple[list[int], list[NDArray[np.float32]]]]:
        """Yield for each batch the indices of its texts and their states by layer."""
        if not texts:
            return
        prompts = self._tokenize(texts, prompt)
        with torch.inference_mode():
            for group in self._forward.groups(prompts):
                yield from self._run(group, layers)

    def _run(
        self, group: Group, layers: Sequence[int]
    ) -> Iterator[tuple[list[int], list[NDArray[np.float32]]]]:
        """Yield the states of each batch; if memory runs out, continue with half the budget."""
        waiting = self._divide(group.rows, group)
        while waiting:
            batch = waiting[-1]
            try:
                states = self._states(batch, group, layers)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                states = None
            if states is None:
                # Outside the handler, so that the failed pass no longer holds memory.
                self._halve(batch)
                left = [row for waiting_batch in waiting for row in waiting_batch]
                waiting = self._divide(left, group)
                continue
            waiting.pop()
            yield [row.index for row in batch], states

    def _halve(self, batch: Sequence[Row]) -> None:
        release(self.model.device)
        if self._split:
            raise OutOfMemoryError(
                f"out of memory with a token budget of {self.token_budget}; split the model over more"
                " processes"
            )
        if len(batch) == 1:
            raise OutOfMemoryError(
                f"one text of {len(batch[0])} tokens does not fit into the memory of"
                f" {self.model.device}; use a smaller --precision or more --devices"
            )
        # A row may be longer than the budget; half of the tokens that were tried is always less.
        tried = min(self.token_budget, sum(map(len, batch)))
        self.token_budget = max(1, tried // 2)
        logger.warning("out of memory; the token budget is now %d", self.token_budget)

    def _divide(self, rows: Sequence[Row], group: Group) -> list[list[Row]]:
        """Return the batches of rows of a group, the first one last."""
        return list(batches(rows, self.token_budget, one_length=not group.packed))[::-1]

    def _states(
        self, batch: Sequence[Row], group: Group, layers: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        """Return the pooled states of one batch by layer, each float32 (len(batch), width)."""
        by_layer = self._forward.states(batch, group, layers)
        return [np.asarray(states.float().cpu(), dtype=np.float32) for states in by_layer]
