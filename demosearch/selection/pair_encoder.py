"""Cosine similarities of the development pairs under a prompt."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from demosearch._common.files import sha256
from demosearch.datasets.pairs import Pairs
from demosearch.errors import NotFiniteError, UserError
from demosearch.metrics.similarity import cosine
from demosearch.models.finite import checked
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.prompt import Prompt
from demosearch.selection.objective import Objective
from demosearch.selection.steps import System

if TYPE_CHECKING:
    from numpy.typing import NDArray


logger = logging.getLogger(__name__)


class SentenceEncoder(Protocol):
    """The interface of an encoder that a search requires: an `Encoder`, `Replicas`, or your own.

    Attributes:
        record: identifies the weights.
        adapter: the LoRA adapter, if any.
        layers: number of decoder layers.
        concurrency: number of threads that may call the encoder at the same time.
        token_budget: maximum tokens of a forward pass; the encoder lowers it when memory runs out.
    """

    record: ModelRecord
    adapter: AdapterRecord | None
    layers: int
    concurrency: int
    token_budget: int

    def resolve_layer(self, layer: int | None) -> int:
        """Return the index into `hidden_states` of a layer; None means the last layer."""
        ...

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt without a text."""
        ...

    def width(self, layer: int | None) -> int:
        """Return the width of a layer's states; None means the last layer."""
        ...

    def encode(self, texts: Sequence[str], prompt: Prompt) -> NDArray[np.float32]:
        """Return the embeddings of texts, float32 (len(texts), width), not normalized."""
        ...

    def compare(
        self,
        texts: Sequence[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        first: Sequence[int],
        second: Sequence[int],
    ) -> NDArray[np.float32]:
        """Return the cosine similarity of pairs of texts, float32 (layers, pairs)."""
        ...


class PairEncoder:
    """Computes the similarities of pairs under prompts.

    Attributes:
        pairs: the pairs.
        encoder: the model.
        objective: scores the similarities.

    Args:
        encoder: the model.
        objective: the pairs and their metric; pairs alone are scored by Spearman's correlation.
    """

    def __init__(self, encoder: SentenceEncoder, objective: Objective | Pairs) -> None:
        self.objective = objective if isinstance(objective, Objective) else Objective(objective)
        self.pairs = self.objective.pairs
        self.encoder = encoder
        self._warned_of_zeros = False

    def similarities(
        self,
        prompt: Prompt,
        indices: Sequence[int] | None = None,
        layers: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """Return the cosine similarities of pairs at some layers, from one forward pass.

        Args:
            prompt: template and demonstrations; its layer is used if `layers` is None.
            indices: indices of the pairs; None means all.
            layers: indices into `hidden_states`.

        Returns:
            float32 (layers, pairs).

        Raises:
            UserError: the prompt cannot be used, or an embedding or a similarity is not finite; the
                message names the pair.
        """
        texts = self.pairs.sentences(indices)
        scored = [prompt.layer] if layers is None else layers
        with self._named():
            similarities = self.encoder.compare(
                texts, prompt, scored, *self.pairs.sentence_rows(texts, indices)
            )
        is_finite = np.isfinite(similarities).all(axis=0)
        if not is_finite.all():
            pairs = range(len(self.pairs)) if indices is None else indices
            first = min(pairs[row] for row in np.flatnonzero(~is_finite).tolist())
            raise UserError(
                f"a similarity is not finite, the first one that of {self.pairs.location_of(first)}"
            )
        self._warn_of_zeros(similarities)
        return similarities

    def states(
        self, texts: Sequence[str], prompt: Prompt, layers: Sequence[int | None]
    ) -> list[NDArray[np.float32]]:
        """Return the states of texts under a prompt at some layers, each float32 (texts, width).

        They come from one pass if the encoder has a method `encode_layers`.

        Raises:
            UserError: the prompt cannot be used, or a state is not finite; the message names the pair
                if the text is a sentence of one.
        """
        encode_layers = getattr(self.encoder, "encode_layers", None)
        with self._named():
            if encode_layers is not None:
                rows = encode_layers(texts, prompt, layers)
            else:
                rows = [
                    self.encoder.encode(texts, replace(prompt, layer=layer)) for layer in layers
                ]
            precision = self.encoder.record.precision
            return [
                checked(states, texts, precision, f"layer {self.encoder.resolve_layer(layer)}")
                for layer, states in zip(layers, rows, strict=True)
            ]

    def layers_of(self, prompts: Iterable[Prompt]) -> dict[Prompt, list[int]]:
        """Return the distinct layers of each prompt; the prompts themselves have no layer."""
        layers_of: dict[Prompt, list[int]] = {}
        for prompt in prompts:
            layer = self.encoder.resolve_layer(prompt.layer)
            layers = layers_of.setdefault(replace(prompt, layer=None), [])
            if layer not in layers:
                layers.append(layer)
        return layers_of

    def systems_similarities(self, systems: Sequence[System]) -> NDArray[np.float32]:
        """Return the cosine similarities of all pairs under several systems.

        Prompts that differ in the layer only are encoded in one pass.

        Returns:
            float32 (systems, pairs).

        Raises:
            UserError: a prompt cannot be used.
        """
        texts = self.pairs.sentences()
        layers_of = self.layers_of([prompt for system in systems for prompt in system.prompts])
        states = {
            (prompt, layer): rows
            for prompt, layers in layers_of.items()
            for layer, rows in zip(layers, self.states(texts, prompt, layers), strict=True)
        }
        first, second = self.pairs.sentence_rows(texts)
        rows_of_systems = []
        for system in systems:
            embeddings = system.embeddings(
                [
                    states[replace(prompt, layer=None), self.encoder.resolve_layer(prompt.layer)]
                    for prompt in system.prompts
                ]
            )
            rows_of_systems.append(cosine(embeddings[first], embeddings[second]))
        similarities = np.stack(rows_of_systems)
        self._warn_of_zeros(similarities)
        return similarities

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the pair of a text whose state is not finite; other texts have no row here."""
        try:
            yield
        except NotFiniteError as error:
            is_of_pair = error.text in self.pairs.sentences()
            named = error.at(self.pairs.location(error.text)) if is_of_pair else error.in_row(None)
            raise named from None

    def _warn_of_zeros(self, similarities: NDArray[np.float32]) -> None:
        """Log a warning the first time that similarities (..., pairs) are exactly 0."""
        zeros = int((similarities == 0).any(axis=0).sum())
        if zeros and not self._warned_of_zeros:
            self._warned_of_zeros = True
            logger.warning(
                "%s: the similarity of %d of %d pairs is exactly 0; an embedding of zeros has"
                " similarity 0 with every embedding",
                self.pairs.name,
                zeros,
                similarities.shape[-1],
            )

    def cache_key(self, prompts: Sequence[Prompt], *texts: str) -> str:
        """Return the key of results that depend on the encoder, the pairs and some prompts.

        Args:
            prompts: in their order, each with its layer.
            texts: other texts that the results depend on.
        """
        encoder = self.encoder
        records = (prompt.record(encoder.resolve_layer(prompt.layer)) for prompt in prompts)
        return sha256(
            [
                json.dumps(encoder.record.identity(), separators=(",", ":"), ensure_ascii=False),
                encoder.adapter.model_dump_json() if encoder.adapter else "",
                self.pairs.sha256,
                *(record.model_dump_json() for record in records),
                *texts,
            ]
        )[:16]
