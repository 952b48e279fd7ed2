"""Curation: which pairs become candidates, and why the others are rejected."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import snowballstemmer

from demosearch._common.extras import missing_extra
from demosearch.candidates.file import Candidate
from demosearch.candidates.labeling import WORD, clean_word
from demosearch.demonstration import control_token_in
from demosearch.prompt import prepare

T = TypeVar("T")

FEWEST_WORDS = 3
MOST_WORDS = 40
# Two pairs with the same word are near-duplicates from this Jaccard similarity of their sentences' words.
NEAR_DUPLICATE = 0.8
# Smallest probability of another language at which a sentence is rejected: the language of a short sentence
# is often uncertain.
MIN_LANGUAGE_PROBABILITY = 0.95
_ARTICLES = frozenset({"a", "an", "the"})
_STEMMER = snowballstemmer.stemmer("english")


class Reason(StrEnum):
    """Why a pair is rejected."""

    NO_WORD = "not a single word"
    LENGTH = f"not {FEWEST_WORDS} to {MOST_WORDS} words long"
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
        language: reject sentences that are not in this language (ISO 639-1 code).
        offensive: reject pairs that contain one of these words.
        rejections: the rejected pairs, in order.
    """

    forbidden: Iterable[str] = ()
    refuse_word_in_sentence: bool = False
    language: str | None = None
    offensive: Iterable[str] = ()
    rejections: list[Rejection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._forbidden = {prepare(text).casefold() for text in self.forbidden}
        self._offensive = {word.casefold() for word in self.offensive}
        self._identify = _language_identifier() if self.language else None
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
        prepared = prepare(" ".join(sentence.split()))
        answer = clean_word(word)
        reason = self._of_sentence(prepared)
        if reason is None:
            reason = Reason.NO_WORD if answer is None else self._of_word(answer, prepared)
        if reason is not None or answer is None:
            self.rejections.append(Rejection(prepared, word, source, reason or Reason.NO_WORD))
            return None
        candidate = Candidate(
            sentence=prepared,
            word=answer,
            source=source,
            word_in_sentence=occurs_in(answer, prepared),
            words=len(prepared.split()),
            **columns,
        )
        bare = _bare_words(prepared)
        self._admitted.add(bare)
        self._by_word[answer.casefold()].append(frozenset(bare))
        return candidate

    def admits_sentence(self, sentence: str, source: str) -> bool:
        """Whether a sentence may become a candidate. This is checked before it is labeled."""
        prepared = prepare(" ".join(sentence.split()))
        reason = self._of_sentence(prepared)
        if reason is not None:
            self.rejections.append(Rejection(prepared, None, source, reason))
        return reason is None

    def _of_sentence(self, sentence: str) -> Reason | None:
        if not FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS:
            return Reason.LENGTH
        if control_token_in(sentence) or not _is_text(sentence):
            return Reason.CONTROL
        if sentence.casefold() in self._forbidden:
            return Reason.EVALUATION
        if _bare_words(sentence) in self._admitted:
            return Reason.DUPLICATE
        if self._identify is not None:
            language, probability = self._identify(sentence)
            if language != self.language and probability > MIN_LANGUAGE_PROBABILITY:
                return Reason.LANGUAGE
        if self._offensive.intersection(_words(sentence)):
            return Reason.OFFENSIVE
        return None

    def _of_word(self, word: str, sentence: str) -> Reason | None:
        if word.casefold() in self._offensive:
            return Reason.OFFENSIVE
        bare = frozenset(_bare_words(sentence))
        for other in self._by_word[word.casefold()]:
            if len(bare & other) >= NEAR_DUPLICATE * len(bare | other):
                return Reason.NEAR_DUPLICATE
        if self.refuse_word_in_sentence and occurs_in(word, sentence):
            return Reason.WORD_IN_SENTENCE
        return None


def occurs_in(word: str, sentence: str) -> bool:
    """Whether a word, or another form of it, occurs in a sentence. Stems are compared.

    >>> occurs_in("Riding", "A jockey rides a horse.")
    True
    """
    return _STEMMER.stemWord(word.casefold()) in _STEMMER.stemWords(_words(sentence))


def _is_text(text: str) -> bool:
    """Whether a text contains no control characters and no unpaired surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return all(ord(character) >= 32 for character in text)


def _words(sentence: str) -> list[str]:
    return [word.casefold() for word in WORD.findall(sentence)]


def _bare_words(sentence: str) -> tuple[str, ...]:
    """Return a sentence's words without case, punctuation and articles."""
    return tuple(word for word in re.findall(r"\w+", sentence.casefold()) if word not in _ARTICLES)


def _language_identifier() -> Callable[[str], tuple[str, float]]:
    try:
        from py3langid import langid
    except ImportError:
        raise missing_extra("the language check", "quality") from None
    model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identify: Callable[[str], tuple[str, float]] = model.classify
    return identify


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
