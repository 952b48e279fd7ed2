"""What chat models cost, so that a run can say so before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from demosearch.errors import UserError

# Characters of English a token, cautiously.
CHARACTERS = 3.5
# An answer is one word, in JSON where the server enforces it.
ANSWER_TOKENS = 10


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens.

    Attributes:
        sent: of the question.
        received: of the answer.
    """

    sent: float
    received: float

    def of(self, sent: float, received: float) -> float:
        """Return the cost of so many tokens in dollars."""
        return (sent * self.sent + received * self.received) / 1e6


# List prices of OpenAI's models, looked up in 2025.
PRICES: dict[str, Price] = {
    "gpt-4o-mini": Price(0.15, 0.60),
    "gpt-4o": Price(2.50, 10.00),
    "gpt-4.1": Price(2.00, 8.00),
    "gpt-4.1-mini": Price(0.40, 1.60),
    "gpt-4.1-nano": Price(0.10, 0.40),
}


def price_of(model: str, given: str | None) -> Price | None:
    """Return the price of a model: what the user gave, else the list's; None if neither knows.

    >>> price_of("my-model", "0.5,1.5")
    Price(sent=0.5, received=1.5)

    Raises:
        UserError: the given price is not two numbers.
    """
    if given is None:
        return PRICES.get(model)
    try:
        sent, received = (float(number) for number in given.split(","))
    except ValueError:
        sent = received = -1.0
    if sent < 0 or received < 0:
        raise UserError(
            f"--price {given}: give dollars for a million tokens of question and answer, e.g."
            " 0.15,0.60"
        )
    return Price(sent, received)


def estimated_tokens(characters: int, questions: int) -> tuple[int, int]:
    """Return the tokens that questions of so many characters in all will send and receive."""
    return round(characters / CHARACTERS), questions * ANSWER_TOKENS
