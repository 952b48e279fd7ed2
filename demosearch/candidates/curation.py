"""One stage for both sources: what may become a candidate, and why something may not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import numpy as np

from demosearch.candidates.file import Candidate
from demosearch.candidates.labeling import WORD, clean_word
from demosearch.prompt import prepare

T = TypeVar("T")

FEWEST_WORDS = 3
MOST_WORDS = 40


class Reason(StrEnum):
    """Why a pair was refused."""

    NO_WORD = "no single word"
    LENGTH = f"not {FEWEST_WORDS} to {MOST_WORDS} words long"
    EVALUATION = "sentence of a dev or test set"
    DUPLICATE = "sentence or pair seen before"
    WORD_IN_SENTENCE = "word stands in its sentence"


@dataclass
class Curation:
    """Admits pairs one by one and counts what it refuses.

    Attributes:
        forbidden: dev and test sentences; none of them may become a demonstration.
        refuse_word_in_sentence: refuse what is otherwise only flagged.
        rejected: how many were refused, by reason.
    """

    forbidden: Iterable[str] = ()
    refuse_word_in_sentence: bool = False
    rejected: Counter[Reason] = field(default_factory=Counter)
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._forbidden = {prepare(text).casefold() for text in self.forbidden}

    def admit(
        self, sentence: str, word: str | None, source: str, pos: str | None = None
    ) -> Candidate | None:
        """Return the pair as a prepared candidate, or None if it is refused."""
        prepared = prepare(" ".join(sentence.split()))
        answer = clean_word(word)
        reason = self._refusal(prepared, answer)
        if reason is not None or answer is None:
            self.rejected[reason or Reason.NO_WORD] += 1
            return None
        self._taken.add(prepared.casefold())
        return Candidate(
            sentence=prepared,
            word=answer,
            source=source,
            pos=pos,
            word_in_sentence=stands_in(answer, prepared),
        )

    def admits_sentence(self, sentence: str) -> bool:
        """Whether a sentence could become a candidate whatever its word; asked before paying."""
        reason = self._refusal(prepare(" ".join(sentence.split())), "Word")
        if reason is None:
            return True
        self.rejected[reason] += 1
        return False

    def _refusal(self, sentence: str, word: str | None) -> Reason | None:
        if word is None:
            return Reason.NO_WORD
        if not FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS:
            return Reason.LENGTH
        if sentence.casefold() in self._forbidden:
            return Reason.EVALUATION
        if sentence.casefold() in self._taken:
            return Reason.DUPLICATE
        if self.refuse_word_in_sentence and stands_in(word, sentence):
            return Reason.WORD_IN_SENTENCE
        return None


def stands_in(word: str, sentence: str) -> bool:
    """Whether the word is one of the sentence's words, whatever its case."""
    return word.casefold() in (found.casefold() for found in WORD.findall(sentence))


def balanced(items: Sequence[T], group: Callable[[T], Hashable], seed: int) -> list[T]:
    """Return the items in a random order in which the groups take turns.

    Any beginning of the list then holds about as many of each group.
    """
    generator = np.random.default_rng(seed)
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for place in generator.permutation(len(items)):
        item = items[place]
        groups[group(item)].append(item)
    order = sorted(groups, key=str)
    turns = max((len(members) for members in groups.values()), default=0)
    return [groups[key][turn] for turn in range(turns) for key in order if turn < len(groups[key])]
