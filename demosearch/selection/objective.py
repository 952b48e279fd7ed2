"""What a prompt is worth: Spearman's correlation of its cosine similarities with gold scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import AdapterRecord, ModelRecord
from demosearch.jobs import Done, Job
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SentenceEncoder(Protocol):
    """All that the selector asks of an encoder.

    Attributes:
        token_budget: tokens a forward pass; lowered by the encoder when memory runs out.
    """

    token_budget: int

    def encode(self, texts: Sequence[str], prompt: Prompt) -> NDArray[np.float32]:
        """Return one row a text, float32 (len(texts), width)."""
        ...

    def encode_each(self, jobs: Iterable[Job]) -> Iterator[Done]:
        """Yield the outcome of every job, in any order."""
        ...


class ModelEncoder(SentenceEncoder, Protocol):
    """An encoder that knows what it is, as every exported file says: an `Encoder` or `Replicas`."""

    record: ModelRecord
    adapter: AdapterRecord | None

    def resolve_layer(self, layer: int | None) -> int:
        """Return the index into `hidden_states` that `layer` stands for; None is the last."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What a candidate's prompt makes of some pairs: asked."""

    candidate: str
    prompt: Prompt
    indices: Sequence[int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a candidate's prompt makes of some pairs: answered.

    Attributes:
        question: what was asked.
        similarities: float32 (pairs,), or None if it failed.
        failure: the reason if it failed.
        sentences: that went to the encoder.
        seconds: that it took on its device.
    """

    question: Question
    similarities: NDArray[np.float32] | None
    failure: str
    sentences: int
    seconds: float


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
    """

    def __init__(self, encoder: SentenceEncoder, pairs: Pairs) -> None:
        self.pairs = pairs
        self._encoder = encoder

    @property
    def token_budget(self) -> int:
        """The encoder's tokens a forward pass."""
        return self._encoder.token_budget

    def similarities(self, prompt: Prompt, indices: Sequence[int]) -> NDArray[np.float32]:
        """Return the cosine similarity of each pair at `indices`, float32 (len(indices),).

        Raises:
            UserError: the prompt cannot be used.
        """
        texts = self.pairs.sentences(indices)
        return self._of_pairs(texts, self._encoder.encode(texts, prompt), indices)

    def similarities_of_each(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """Yield the answer to each question as it comes, from as many devices as the encoder has."""
        asked: dict[str, Question] = {}

        def jobs() -> Iterator[Job]:
            for question in questions:
                asked[question.candidate] = question
                texts = self.pairs.sentences(question.indices)
                yield Job(question.candidate, texts, question.prompt)

        for done in self._encoder.encode_each(jobs()):
            question = asked.pop(done.job.key)
            similarities = None
            if done.states is not None:
                similarities = self._of_pairs(done.job.texts, done.states, question.indices)
            yield Answer(question, similarities, done.failure, len(done.job.texts), done.seconds)

    def _of_pairs(
        self, texts: Sequence[str], states: NDArray[np.float32], indices: Sequence[int]
    ) -> NDArray[np.float32]:
        place = {text: row for row, text in enumerate(texts)}
        first = [place[self.pairs.sentences1[index]] for index in indices]
        second = [place[self.pairs.sentences2[index]] for index in indices]
        return cosine(states[first], states[second])
