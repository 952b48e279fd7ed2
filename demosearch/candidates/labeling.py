"""Word labeling: asking somebody for the one word that stands for a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from demosearch.demonstration import Demonstration

# Letters of any script, with inner hyphens or apostrophes: "Horseback-riding".
WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")

# Written for this project; they show a labeler what kind of word is wanted.
EXAMPLES = (
    Demonstration(sentence="A man is slicing potatoes in a bowl.", word="Cooking"),
    Demonstration(sentence="Stocks fell sharply after the bank cut its forecast.", word="Economy"),
    Demonstration(sentence="The children built a castle on the beach.", word="Play"),
)


@dataclass(frozen=True, slots=True)
class Label:
    """An answer to a sentence.

    Attributes:
        answer: as it came; the curation finds out whether it is one word.
        agreement: share of the votes that gave this word; None where only one was asked for.
    """

    answer: str
    agreement: float | None = None


class Labeler(Protocol):
    """Somebody who gives the word for a sentence.

    Attributes:
        source: what the candidates' `source` says, e.g. `openai:<model>`.
    """

    source: str

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[Label | None]:
        """Return an answer for each sentence, None where there is none."""
        ...


def majority(votes: Sequence[str | None]) -> Label | None:
    """Return the word that most votes gave, the earlier one where two are level.

    A vote that is no word counts against the agreement.

    >>> majority(["Riding", "horse", "riding.", None])
    Label(answer='Riding', agreement=0.5)
    """
    words = [word for vote in votes if (word := clean_word(vote))]
    if not words:
        return next((Label(vote) for vote in votes if vote), None)
    word, count = Counter(words).most_common(1)[0]
    return Label(word, count / len(votes) if len(votes) > 1 else None)


def clean_word(answer: str | None) -> str | None:
    """Return the one word of an answer, capitalised as in the paper, or None if it is not one.

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
