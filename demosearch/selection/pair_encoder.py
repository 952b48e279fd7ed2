"""What is asked of an encoder: the cosine similarities of dev pairs under a prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from demosearch._common.files import sha256
from demosearch.datasets.pairs import Pairs
from demosearch.metrics.similarity import averaged, cosine
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.prompt import Prompt
from demosearch.selection.objective import Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SentenceEncoder(Protocol):
    """All that the selector asks of an encoder: an `Encoder` or `Replicas`.

    Attributes:
        record: which weights.
        adapter: the LoRA on them, if any.
        layers: number of decoder layers.
        concurrency: how many threads may ask at a time.
        token_budget: tokens a forward pass; lowered by the encoder when memory runs out.
    """

    record: ModelRecord
    adapter: AdapterRecord | None
    layers: int
    concurrency: int
    token_budget: int

    def resolve_layer(self, layer: int | None) -> int:
        """Return the index into `hidden_states` that `layer` stands for; None is the last."""
        ...

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens a prompt has without a text."""
        ...

    def width(self, layer: int | None) -> int:
        """Return how many numbers a layer's states have; None is the last layer."""
        ...

    def encode(self, texts: Sequence[str], prompt: Prompt) -> NDArray[np.float32]:
        """Return one row a text, float32 (len(texts), width), not normalised."""
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
    """Similarities of pairs under a prompt, and what they are worth.

    Attributes:
        pairs: the pairs.
        encoder: the model.
        objective: scores similarities of the pairs.

    Args:
        encoder: the model.
        objective: the pairs, how they are judged; pairs alone are judged by Spearman's correlation.
    """

    def __init__(self, encoder: SentenceEncoder, objective: Objective | Pairs) -> None:
        self.objective = objective if isinstance(objective, Objective) else Objective(objective)
        self.pairs = self.objective.pairs
        self.encoder = encoder

    def similarities(
        self,
        prompt: Prompt,
        indices: Sequence[int] | None = None,
        layers: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """Return the cosine similarity of pairs at some layers, from one pass.

        Args:
            prompt: template and demonstrations, and the layer unless `layers` are given.
            indices: of the pairs; None is all of them.
            layers: indices into `hidden_states`.

        Returns:
            float32 (layers, pairs).

        Raises:
            UserError: the prompt cannot be used.
        """
        texts = self.pairs.sentences(indices)
        wanted = [prompt.layer] if layers is None else layers
        return self.encoder.compare(
            texts, prompt, wanted, *self.pairs.sentence_rows(texts, indices)
        )

    def similarities_under(
        self, prompts: Sequence[Prompt], mean: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the cosine similarity of all pairs under one prompt, or the mean over several.

        Args:
            prompts: each with its layer.
            mean: subtracted from every embedding, float32 (width,).

        Returns:
            float32 (pairs,).

        Raises:
            UserError: a prompt cannot be used.
        """
        texts = self.pairs.sentences()
        states = self.embeddings(texts, prompts)
        if mean is not None:
            states = states - mean
        first, second = self.pairs.sentence_rows(texts)
        return cosine(states[first], states[second])

    def key(self, prompts: Sequence[Prompt], *more: str) -> str:
        """Return what embeddings of the pairs under some prompts are kept under.

        Args:
            prompts: in their order, each with its layer.
            more: what decides besides.
        """
        encoder = self.encoder
        records = (prompt.record(encoder.resolve_layer(prompt.layer)) for prompt in prompts)
        return sha256(
            [
                json.dumps(encoder.record.identity(), separators=(",", ":"), ensure_ascii=False),
                encoder.adapter.model_dump_json() if encoder.adapter else "",
                self.pairs.sha256,
                *(record.model_dump_json() for record in records),
                *more,
            ]
        )[:16]

    def embeddings(self, texts: Sequence[str], prompts: Sequence[Prompt]) -> NDArray[np.float32]:
        """Return the embeddings of texts as an `Embedder` makes them, float32 (texts, width)."""
        return averaged([self.encoder.encode(texts, prompt) for prompt in prompts])
