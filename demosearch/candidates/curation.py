"""Curation: which pairs become candidates, and why the others are rejected."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from demosearch._common.words import fold, length, terms
from demosearch.candidates.file import Candidate
from demosearch.candidates.labeling import Label, clean_word
from demosearch.candidates.language import LanguageCheck, is_in_script_of
from demosearch.candidates.occurrence import contains_any, occurs_in
from demosearch.candidates.settings import (
    FEWEST_CHARACTERS,
    FEWEST_WORDS,
    MOST_CHARACTERS,
    MOST_WORDS,
)
from demosearch.demonstration import control_token_in
from demosearch.prompt import comparison_key, prepare

T = TypeVar("T")

# Two pairs with the same word are near-duplicates from this Jaccard similarity of their sentences'
# words, or pairs of characters in a script without blanks.
NEAR_DUPLICATE = 0.8
_ARTICLES = frozenset({"a", "an", "the"})


class Reason(StrEnum):
    """Why a pair is rejected."""

    NO_WORD = "not a single word"
    SCRIPT = "word in another script than its sentence"
    LENGTH = f"not {FEWEST_WORDS} to {MOST_WORDS} words long"
    CHARACTERS = f"not {FEWEST_CHARACTERS} to {MOST_CHARACTERS} characters long"
    CONTROL = "a control character or token in the sentence"
    EVALUATION = "sentence of a dev or test set"
    DUPLICATE = "duplicate sentence"
    NEAR_DUPLICATE = "near-duplicate sentence with the same word"
    WORD_IN_SENTENCE = "word occurs in its sentence"
    LANGUAGE = "in a different language"
    OFFENSIVE = "contains an offensive word"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A pair that was rejected.

    Attributes:
        sentence: the prepared sentence.
        word: the word as its source gave it; None if the source was not asked for it.
        source: the source of the pair.
        reason: why the pair was rejected.
    """

    sentence: str
    word: str | None
    source: str
    reason: Reason


@dataclass
class Curation:
    """Admits or rejects pairs, one after another.

    Attributes:
        forbidden: dev and test sentences, which never become demonstrations.
        refuse_word_in_sentence: reject pairs whose word occurs in the sentence; by default they are
            only flagged.
        language: reject sentences that are not in this language (ISO 639-1 code). It also selects the
            stemmer that finds a word in its sentence.
        offensive: reject pairs that contain one of these words.
        rejections: the rejected pairs, in order.
    """

    forbidden: Iterable[str] = ()
    refuse_word_in_sentence: bool = False
    language: str | None = None
    offensive: Iterable[str] = ()
    rejections: list[Rejection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._forbidden = {comparison_key(text) for text in self.forbidden}
        self._offensive = {fold(word) for word in self.offensive}
        self._is_other_language = LanguageCheck(self.language) if self.language else None
        self._admitted: set[tuple[str, ...]] = set()
        self._by_word: dict[str, list[frozenset[str]]] = defaultdict(list)

    @property
    def rejected(self) -> Counter[Reason]:
        """Number of rejected pairs by reason."""
        return Counter(rejection.reason for rejection in self.rejections)

    def admit(
        self, sentence: str, word: str | None, source: str, **columns: Any
    ) -> Candidate | None:
        """Return the pair as a prepared candidate, or None if it is rejected.

        Args:
            sentence: the sentence as its source gave it.
            word: the word as its source gave it.
            source: the source of the pair.
            **columns: other columns of the candidate, e.g. `pos`.
        """
        return self._admit(sentence, word, source, columns, labeled=False)

    def admit_label(self, sentence: str, label: Label | None, source: str) -> Candidate | None:
        """Return a labeled sentence as a candidate, or None if it is rejected.

        The word of a labeler must also be in the script of the sentence. A dictionary may explain the
        words of another language.

        Args:
            sentence: the sentence as its source gave it.
            label: the answer of the labeler; None if there is none.
            source: the source of the pair.
        """
        columns = {"agreement": label.agreement if label else None}
        return self._admit(sentence, label.answer if label else None, source, columns, labeled=True)

    def _admit(
        self,
        sentence: str,
        word: str | None,
        source: str,
        columns: Mapping[str, Any],
        *,
        labeled: bool,
    ) -> Candidate | None:
        prepared = prepare(" ".join(sentence.split()))
        answer = clean_word(word, prepared)
        reason = self._of_sentence(prepared)
        if reason is None:
            reason = Reason.NO_WORD if answer is None else self._of_word(answer, prepared, labeled)
        if reason is not None or answer is None:
            self.rejections.append(Rejection(prepared, word, source, reason or Reason.NO_WORD))
            return None
        number, unit = length(prepared)
        candidate = Candidate(
            sentence=prepared,
            word=answer,
            source=source,
            word_in_sentence=occurs_in(answer, prepared, self.language),
            words=number if unit == "words" else None,
            characters=number if unit == "characters" else None,
            **columns,
        )
        bare = _bare_terms(prepared)
        self._admitted.add(bare)
        self._by_word[fold(answer)].append(frozenset(bare))
        return candidate

    def admits_sentence(self, sentence: str, source: str) -> bool:
        """Whether a sentence may become a candidate. This is checked before it is labeled."""
        prepared = prepare(" ".join(sentence.split()))
        reason = self._of_sentence(prepared)
        if reason is not None:
            self.rejections.append(Rejection(prepared, None, source, reason))
        return reason is None

    def _of_sentence(self, sentence: str) -> Reason | None:
        if reason := _of_length(sentence):
            return reason
        if control_token_in(sentence) or not _is_text(sentence):
            return Reason.CONTROL
        if comparison_key(sentence) in self._forbidden:
            return Reason.EVALUATION
        if _bare_terms(sentence) in self._admitted:
            return Reason.DUPLICATE
        if self._is_other_language is not None and self._is_other_language(sentence):
            return Reason.LANGUAGE
        if contains_any(self._offensive, sentence):
            return Reason.OFFENSIVE
        return None

    def _of_word(self, word: str, sentence: str, labeled: bool) -> Reason | None:
        if labeled and not is_in_script_of(word, sentence):
            return Reason.SCRIPT
        if contains_any(self._offensive, word):
            return Reason.OFFENSIVE
        bare = frozenset(_bare_terms(sentence))
        for other in self._by_word[fold(word)]:
            if len(bare & other) >= NEAR_DUPLICATE * len(bare | other):
                return Reason.NEAR_DUPLICATE
        if self.refuse_word_in_sentence and occurs_in(word, sentence, self.language):
            return Reason.WORD_IN_SENTENCE
        return None


def _of_length(sentence: str) -> Reason | None:
    number, unit = length(sentence)
    if unit == "characters":
        right = FEWEST_CHARACTERS <= number <= MOST_CHARACTERS
        return None if right else Reason.CHARACTERS
    return None if FEWEST_WORDS <= number <= MOST_WORDS else Reason.LENGTH


def _is_text(text: str) -> bool:
    """Whether a text contains no control characters and no unpaired surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return all(ord(character) >= 32 for character in text)


def _bare_terms(sentence: str) -> tuple[str, ...]:
    """Return the words of a sentence without case, punctuation and English articles.

    In a script without blanks, pairs of characters take the place of words.
    """
    return tuple(term for term in terms(sentence) if term not in _ARTICLES)


def balanced(items: Sequence[T], group: Callable[[T], Hashable], seed: int) -> list[T]:
    """Return the items in a random order in which their groups alternate.

    Every prefix of the list then contains about the same number of items of each group.

    Args:
        items: the items.
        group: returns the group of an item.
        seed: random seed.
    """
    order = np.random.default_rng(seed).permutation(len(items))
    return round_robin([items[index] for index in order], group)


def round_robin(items: Sequence[T], group: Callable[[T], Hashable]) -> list[T]:
    """Return the items in an order in which their groups alternate.

    Inside a group the order is kept.

    >>> round_robin([1, 3, 5, 2, 4], lambda number: number % 2)
    [2, 1, 4, 3, 5]
    """
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[group(item)].append(item)
    order = sorted(groups, key=str)
    turns = max((len(members) for members in groups.values()), default=0)
    return [groups[key][turn] for turn in range(turns) for key in order if turn < len(groups[key])]
