"""One stage for both sources: what may become a candidate, and why something may not."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import snowballstemmer

from demosearch.candidates.file import Candidate
from demosearch.candidates.labeling import WORD, clean_word
from demosearch.demonstration import control_token_in
from demosearch.errors import UserError
from demosearch.prompt import prepare

T = TypeVar("T")

FEWEST_WORDS = 3
MOST_WORDS = 40
# Two pairs with the same word are nearly one if their sentences share so many of all their words.
NEARLY = 0.8
# Below this a short sentence's language is anybody's guess.
SURE = 0.95
_ARTICLES = frozenset({"a", "an", "the"})


class Reason(StrEnum):
    """Why a pair was refused."""

    NO_WORD = "no single word"
    LENGTH = f"not {FEWEST_WORDS} to {MOST_WORDS} words long"
    CONTROL = "a control character or token in the sentence"
    EVALUATION = "sentence of a dev or test set"
    DUPLICATE = "sentence seen before"
    NEAR_DUPLICATE = "nearly the same sentence with the same word"
    WORD_IN_SENTENCE = "word stands in its sentence"
    LANGUAGE = "another language"
    OFFENSIVE = "a word of the offensive words"


@dataclass(frozen=True, slots=True)
class Refused:
    """A pair that was refused."""

    sentence: str
    word: str | None
    source: str
    reason: Reason


@dataclass
class Curation:
    """Admits pairs one by one and keeps what it refuses.

    Attributes:
        forbidden: dev and test sentences; none of them may become a demonstration.
        refuse_word_in_sentence: refuse what is otherwise only flagged.
        language: refuse sentences that are surely in another language than this (ISO 639-1).
        offensive: refuse pairs that hold one of these words.
        refused: what was refused, in order.
    """

    forbidden: Iterable[str] = ()
    refuse_word_in_sentence: bool = False
    language: str | None = None
    offensive: Iterable[str] = ()
    refused: list[Refused] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._forbidden = {prepare(text).casefold() for text in self.forbidden}
        self._offensive = {word.casefold() for word in self.offensive}
        self._identify = _language_identifier() if self.language else None
        self._taken: set[tuple[str, ...]] = set()
        self._by_word: dict[str, list[frozenset[str]]] = defaultdict(list)

    @property
    def rejected(self) -> Counter[Reason]:
        """How many were refused, by reason."""
        return Counter(one.reason for one in self.refused)

    def admit(self, sentence: str, word: str | None, source: str, **known: Any) -> Candidate | None:
        """Return the pair as a prepared candidate, or None if it is refused.

        Args:
            sentence: as its source has it.
            word: as its source has it.
            source: who paired them.
            known: further columns of the candidate, e.g. `pos`.
        """
        prepared = prepare(" ".join(sentence.split()))
        answer = clean_word(word)
        reason = self._of_sentence(prepared)
        if reason is None:
            reason = Reason.NO_WORD if answer is None else self._of_word(answer, prepared)
        if reason is not None or answer is None:
            self.refused.append(Refused(prepared, word, source, reason or Reason.NO_WORD))
            return None
        candidate = Candidate(
            sentence=prepared,
            word=answer,
            source=source,
            word_in_sentence=stands_in(answer, prepared),
            words=len(prepared.split()),
            **known,
        )
        bare = _bare_words(prepared)
        self._taken.add(bare)
        self._by_word[answer.casefold()].append(frozenset(bare))
        return candidate

    def admits_sentence(self, sentence: str, source: str) -> bool:
        """Whether a sentence could become a candidate whatever its word; asked before paying."""
        prepared = prepare(" ".join(sentence.split()))
        reason = self._of_sentence(prepared)
        if reason is not None:
            self.refused.append(Refused(prepared, None, source, reason))
        return reason is None

    def _of_sentence(self, sentence: str) -> Reason | None:
        if not FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS:
            return Reason.LENGTH
        if control_token_in(sentence) or not _is_text(sentence):
            return Reason.CONTROL
        if sentence.casefold() in self._forbidden:
            return Reason.EVALUATION
        if _bare_words(sentence) in self._taken:
            return Reason.DUPLICATE
        if self._identify is not None:
            found, share = self._identify(sentence)
            if found != self.language and share > SURE:
                return Reason.LANGUAGE
        if self._offensive.intersection(_words(sentence)):
            return Reason.OFFENSIVE
        return None

    def _of_word(self, word: str, sentence: str) -> Reason | None:
        if word.casefold() in self._offensive:
            return Reason.OFFENSIVE
        bare = frozenset(_bare_words(sentence))
        for other in self._by_word[word.casefold()]:
            if len(bare & other) >= NEARLY * len(bare | other):
                return Reason.NEAR_DUPLICATE
        if self.refuse_word_in_sentence and stands_in(word, sentence):
            return Reason.WORD_IN_SENTENCE
        return None


def stands_in(word: str, sentence: str) -> bool:
    """Whether the word or another form of it is one of the sentence's words.

    >>> stands_in("Riding", "A jockey rides a horse.")
    True
    """
    return _STEMMER.stemWord(word.casefold()) in _STEMMER.stemWords(_words(sentence))


def _is_text(text: str) -> bool:
    """Whether a text is without control characters and halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return all(ord(character) >= 32 for character in text)


_STEMMER = snowballstemmer.stemmer("english")


def _words(sentence: str) -> list[str]:
    return [found.casefold() for found in WORD.findall(sentence)]


def _bare_words(sentence: str) -> tuple[str, ...]:
    """Return a sentence's words without case, punctuation and articles."""
    return tuple(word for word in re.findall(r"\w+", sentence.casefold()) if word not in _ARTICLES)


def _language_identifier() -> Callable[[str], tuple[str, float]]:
    try:
        from py3langid import langid
    except ImportError:
        raise UserError(
            "the language check needs py3langid; run: pip install 'demosearch[quality]'"
        ) from None
    model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identify: Callable[[str], tuple[str, float]] = model.classify
    return identify


def balanced(items: Sequence[T], group: Callable[[T], Hashable], seed: int) -> list[T]:
    """Return the items in a random order in which the groups take turns.

    Any beginning of the list then holds about as many of each group.
    """
    order = np.random.default_rng(seed).permutation(len(items))
    return taking_turns([items[place] for place in order], group)


def taking_turns(items: Sequence[T], group: Callable[[T], Hashable]) -> list[T]:
    """Return the items so that their groups take turns; inside a group their order stays.

    >>> taking_turns([1, 3, 5, 2, 4], lambda number: number % 2)
    [2, 1, 4, 3, 5]
    """
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[group(item)].append(item)
    order = sorted(groups, key=str)
    turns = max((len(members) for members in groups.values()), default=0)
    return [groups[key][turn] for turn in range(turns) for key in order if turn < len(groups[key])]
