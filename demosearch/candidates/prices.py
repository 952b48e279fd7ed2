"""Prices of chat models, so that the cost of labeling can be estimated."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

_TWO_NUMBERS = re.compile(r"\s*(\d*\.?\d+)\s*,\s*(\d*\.?\d+)\s*")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens.

    Attributes:
        sent: of the questions (input tokens).
        received: of the answers (output tokens).
    """

    sent: float
    received: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the price that a text such as `0.15,0.60` gives.

        >>> Price.parse("0.5, 1.5")
        Price(sent=0.5, received=1.5)

        Raises:
            ValueError: the text is not two numbers separated by a comma.
        """
        match = _TWO_NUMBERS.fullmatch(text)
        if match is None:
            raise ValueError(
                "must be two numbers separated by a comma (US dollars per million input and output"
                f" tokens), e.g. 0.15,0.60, but got '{text}'"
            )
        return cls(float(match[1]), float(match[2]))

    def of(self, sent: float, received: float) -> float:
        """Return the cost of tokens in US dollars."""
        return (sent * self.sent + received * self.received) / 1e6


# List prices of OpenAI's models, as of 2025.
PRICES: dict[str, Price] = {
    "gpt-4o-mini": Price(0.15, 0.60),
    "gpt-4o": Price(2.50, 10.00),
    "gpt-4.1": Price(2.00, 8.00),
    "gpt-4.1-mini": Price(0.40, 1.60),
    "gpt-4.1-nano": Price(0.10, 0.40),
}

# UTF-8 bytes per token, a cautious estimate. In bytes, because a Chinese or Japanese character, which has
# three bytes, is about one token.
_BYTES = 3.5
# An answer is one word, as JSON if the server supports it.
_ANSWER_TOKENS = 10


def estimated_tokens(size: int, questions: int) -> tuple[int, int]:
    """Return the numbers of tokens that questions will send and receive.

    Args:
        size: total size of the questions in UTF-8 bytes.
        questions: number of questions.
    """
    return estimated_tokens_of(size), questions * _ANSWER_TOKENS


def estimated_tokens_of(size: int) -> int:
    """Return the number of tokens of a text of this size in UTF-8 bytes."""
    return math.ceil(size / _BYTES)
