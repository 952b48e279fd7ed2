"""What a prompt is worth: Spearman's correlation of its cosine similarities with gold scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SentenceEncoder(Protocol):
    """All that the selector asks of an encoder."""

    def encode(self, texts: Sequence[str], prompt: Prompt) -> NDArray[np.float32]:
        """Return one row a text, float32 (len(texts), width)."""
        ...


def cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the row-wise cosine similarity of two arrays of shape (n, width), as (n,)."""
    product = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    norms = np.linalg.norm(first.astype(np.float64), axis=1) * np.linalg.norm(
        second.astype(np.float64), axis=1
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(product / norms, dtype=np.float32)


class Objective:
    """Similarities of dev pairs under a prompt.

    Attributes:
        pairs: the dev pairs.
        sentences_encoded: sentences given to the encoder since this object was made.
    """

    def __init__(self, encoder: SentenceEncoder, pairs: Pairs) -> None:
        self.pairs = pairs
        self.sentences_encoded = 0
        self._encoder = encoder

    def similarities(self, prompt: Prompt, indices: Sequence[int]) -> NDArray[np.float32]:
        """Return the cosine similarity of each pair at `indices`, float32 (len(indices),)."""
        texts = self.pairs.sentences(indices)
        self.sentences_encoded += len(texts)
        states = self._encoder.encode(texts, prompt)
        place = {text: row for row, text in enumerate(texts)}
        first = [place[self.pairs.sentences1[index]] for index in indices]
        second = [place[self.pairs.sentences2[index]] for index in indices]
        return cosine(states[first], states[second])
