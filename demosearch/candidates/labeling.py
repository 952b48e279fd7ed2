"""Word labeling: asking somebody for the one word that stands for a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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


class Labeler(Protocol):
    """Somebody who gives the word for a sentence.

    Attributes:
        source: what the candidates' `source` says, e.g. `openai:<model>`.
    """

    source: str

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[str | None]:
        """Return a raw answer for each sentence, None where there is none."""
        ...


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
