"""Labeling: finding the one word that sums up a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from demosearch.demonstration import Demonstration

# Letters of any script, with inner hyphens or apostrophes: "Horseback-riding".
WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")

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


def majority(votes: Sequence[str | None]) -> Label | None:
    """Return the word with the most votes; of several, the one that came first.

    A vote that is not a single word lowers the agreement.

    >>> majority(["Riding", "horse", "riding.", None])
    Label(answer='Riding', agreement=0.5)
    """
    words = [word for vote in votes if (word := clean_word(vote))]
    if not words:
        return next((Label(vote) for vote in votes if vote), None)
    word, count = Counter(words).most_common(1)[0]
    return Label(word, count / len(votes) if len(votes) > 1 else None)


def clean_word(answer: str | None) -> str | None:
    """Return the one word of an answer, capitalized as in the paper, or None if it is not a single word.

    >>> clean_word(' "horseback-riding".')
    'Horseback-riding'
    >>> clean_word("The word is riding") is None
    True
    """
    if answer is None:
        return None
    bare = answer.strip().strip("\"'“”‘’`*.,;:!?()[] \t\n")
    if not WORD.fullmatch(bare):
        return None
    return bare[0].upper() + bare[1:]
