"""Labeling: finding the one word that sums up a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import regex

from demosearch._common.words import is_word
from demosearch.candidates.language import is_in_script_of
from demosearch.demonstration import Demonstration

# What surrounds a word in an answer: quotes, brackets, the punctuation of any script, direction marks.
# Braces are left, because an answer with braces is malformed JSON. So are the joiners that are not drawn,
# because in some scripts a word may end in one.
_AROUND = (
    r"[\s\p{Quotation_Mark}\p{Terminal_Punctuation}[\p{Ps}\p{Pe}--[{}]]`*…¿¡\u0f0b\u061c"
    r"\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]+"
)
_SURROUNDINGS = regex.compile(rf"^{_AROUND}|{_AROUND}$", regex.V1)
# These letters occur in Turkish and related languages only, whose capital i has a dot.
_DOTTED_CAPITAL = frozenset("ıİ")

# Written for this project. They show a labeler what kind of word is wanted.
EXAMPLES = (
    Demonstration(sentence="A man is slicing potatoes in a bowl.", word="Cooking"),
    Demonstration(sentence="Stocks fell sharply after the bank cut its forecast.", word="Economy"),
    Demonstration(sentence="The children built a castle on the beach.", word="Play"),
)


@dataclass(frozen=True, slots=True)
class Label:
    """The answer of a labeler.

    Attributes:
        answer: the answer as the labeler gave it; curation checks whether it is one word.
        agreement: share of the votes for this word; None if there was only one vote.
    """

    answer: str
    agreement: float | None = None


class Labeler(Protocol):
    """A labeling backend.

    Attributes:
        source: the `source` of the candidates, e.g. `openai:<model>`.
    """

    source: str

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[Label | None]:
        """Return the label of each sentence; None where there is none.

        Args:
            sentences: the sentences to label.
            advance: called with the number of sentences labeled since the last call.
        """
        ...


def majority(votes: Sequence[str | None], sentence: str) -> Label | None:
    """Return the word with the most votes; of several, the one that came first.

    A vote that is not a single word, or is in another script than the sentence, lowers the agreement.

    Args:
        votes: the answers of the labeler.
        sentence: the sentence that was labeled.

    >>> majority(["Riding", "horse", "riding.", None], "A jockey rides.")
    Label(answer='Riding', agreement=0.5)
    """
    cleaned = [clean_word(vote, sentence) for vote in votes]
    words = [word for word in cleaned if word and is_in_script_of(word, sentence)]
    if not words:
        return next((Label(vote) for vote in votes if vote), None)
    word, count = Counter(words).most_common(1)[0]
    return Label(word, count / len(votes) if len(votes) > 1 else None)


def clean_word(answer: str | None, sentence: str = "") -> str | None:
    """Return the one word of an answer, capitalized as in the paper, or None if it is not a single word.

    Args:
        answer: the answer; quotes, brackets and punctuation of any script around it are removed.
        sentence: the sentence of the word. It tells Turkish from other languages.

    >>> clean_word(' "horseback-riding".')
    'Horseback-riding'
    >>> clean_word("「図書館」。")
    '図書館'
    >>> clean_word("The word is riding") is None
    True
    """
    if answer is None:
        return None
    bare: str = _SURROUNDINGS.sub("", answer)
    if not is_word(bare):
        return None
    if bare[0] == "i" and _DOTTED_CAPITAL.intersection(bare + sentence):
        return f"İ{bare[1:]}"
    # Title case, because the upper case of a Georgian letter is not used at the beginning of a word.
    return bare[0].title() + bare[1:]
