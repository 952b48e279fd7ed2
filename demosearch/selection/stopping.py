"""Early stopping of a search: a budget, and patience."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from demosearch.errors import UserError

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_TIME = re.compile(r"(\d+(?:\.\d+)?)([smh])")
_SENTENCES = re.compile(r"(\d+)-sentences?")
_SHARE = re.compile(r"0?\.\d+|1(?:\.0*)?")


class Unit(StrEnum):
    """The unit of a budget."""

    SECONDS = "seconds"
    SENTENCES = "sentences"
    SHARE = "share"


@dataclass(frozen=True, slots=True)
class Budget:
    """The maximum cost of a search.

    Attributes:
        unit: seconds, sentences, or a share of the sentences of an exhaustive search.
        amount: in that unit.
    """

    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the budget of a text: `10m` (s, m, h), `5000-sentences` or `0.1`.

        Raises:
            ValueError: the text is not a budget, or the budget is 0.
        """
        text = str(text).strip()
        if match := _TIME.fullmatch(text):
            budget = cls(Unit.SECONDS, float(match[1]) * _SECONDS[match[2]])
        elif match := _SENTENCES.fullmatch(text):
            budget = cls(Unit.SENTENCES, float(match[1]))
        elif _SHARE.fullmatch(text):
            budget = cls(Unit.SHARE, float(text))
        else:
            raise ValueError(
                "must be a time (90s, 10m, 2h), a number of sentences (5000-sentences) or a share of"
                f" an exhaustive search (0.1) but got {text}"
            )
        if budget.amount <= 0:
            raise ValueError(f"must be greater than 0 but got {text}")
        return budget


class StoppingRule:
    """Decides when a search ends early.

    Attributes:
        patience: number of candidates in a row, scored on all pairs, without a new best one that ends
            the search; None means no limit.
        name: identifies the budget among the budgets of a study; empty without a budget.
        is_spent: whether the budget has ended a race.

    Args:
        budget: None means no limit.
        patience: as the attribute; at least 1.
        exhaustive: number of sentences that an exhaustive search encodes.
    """

    def __init__(
        self, budget: Budget | None = None, patience: int | None = None, exhaustive: int = 0
    ) -> None:
        self.patience = patience
        self.name = f"{budget.amount:g} {budget.unit}" if budget else ""
        self.is_spent = False
        self._budget = budget
        self._sentences: float | None = None
        if budget and budget.unit is not Unit.SECONDS:
            share = budget.unit is Unit.SHARE
            self._sentences = budget.amount * exhaustive if share else budget.amount
        self._started = time.monotonic()

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget or patience."""
        return self._budget is not None or self.patience is not None

    def check(self, least: int) -> None:
        """Check that the budget is large enough for a result.

        Args:
            least: minimum number of sentences.

        Raises:
            UserError: the budget is smaller.
        """
        if self._sentences is not None and self._sentences < least:
            raise UserError(
                f"budget must be at least {least} sentences (the prompt without demonstrations, and"
                f" one candidate or the warm start) but got {self._sentences:.0f}"
            )

    def has_room(self, encoded: float, seconds: float, sentences: float) -> bool:
        """Whether the budget has room for some sentences.

        Args:
            encoded: number of sentences encoded so far.
            seconds: time that encoding them took.
            sentences: number of sentences that are still to be encoded.
        """
        if self.is_spent:
            return False
        if self._sentences is not None:
            return encoded + sentences <= self._sentences
        if self._budget is None or not encoded:
            return True
        elapsed = time.monotonic() - self._started
        return elapsed + sentences * seconds / encoded <= self._budget.amount
