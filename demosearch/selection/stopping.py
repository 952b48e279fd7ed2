"""What ends a search early: a budget, or patience."""

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
    """What a budget counts."""

    SECONDS = "seconds"
    SENTENCES = "sentences"
    SHARE = "share"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a search may take: seconds, sentences, or a share of an exhaustive search's sentences."""

    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the budget that is written `10m` (s, m, h), `5000-sentences` or `0.1`.

        Raises:
            UserError: it is none of these, or nothing.
        """
        written = str(text).strip()
        if found := _TIME.fullmatch(written):
            budget = cls(Unit.SECONDS, float(found[1]) * _SECONDS[found[2]])
        elif found := _SENTENCES.fullmatch(written):
            budget = cls(Unit.SENTENCES, float(found[1]))
        elif _SHARE.fullmatch(written):
            budget = cls(Unit.SHARE, float(written))
        else:
            raise UserError(
                f"budget '{written}': write a time (90s, 10m, 2h), a number of sentences"
                " (5000-sentences), or a share of an exhaustive search (0.1)"
            )
        if budget.amount <= 0:
            raise UserError(f"budget '{written}' is nothing")
        return budget


class StoppingRule:
    """Watches a search.

    Args:
        budget: None is as much as it takes.
        patience: candidates scored on all pairs in a row without a new best; None is no limit.
        exhaustive: sentences that an exhaustive search would encode.

    Raises:
        UserError: patience is no positive number.
    """

    def __init__(
        self, budget: Budget | None = None, patience: int | None = None, exhaustive: int = 0
    ) -> None:
        if patience is not None and patience < 1:
            raise UserError(f"patience {patience}: at least 1 candidate")
        self.patience = patience
        # Tells them from others that a study was ended by.
        self.name = f"{budget.amount:g} {budget.unit}" if budget else ""
        self._budget = budget
        self._sentences: float | None = None
        if budget and budget.unit is not Unit.SECONDS:
            share = budget.unit is Unit.SHARE
            self._sentences = budget.amount * exhaustive if share else budget.amount
        self._started = time.monotonic()

    @property
    def are_set(self) -> bool:
        """Whether there is a budget or patience to be watched."""
        return self._budget is not None or self.patience is not None

    def check(self, least: int) -> None:
        """Refuse a budget that is smaller than the least that gives an answer.

        Raises:
            UserError: it is; says what is needed.
        """
        if self._sentences is not None and self._sentences < least:
            raise UserError(
                f"a budget of {self._sentences:.0f} sentences is too small: the prompt without"
                f" demonstration and one candidate, or all of a warm start, take {least}"
            )

    def is_spent(self, sentences: float, seconds: float, reserve: float) -> bool:
        """Whether what is left is just enough to end.

        Args:
            sentences: encoded so far.
            seconds: that encoding them took.
            reserve: sentences that ending takes.
        """
        if self._sentences is not None:
            return sentences + reserve > self._sentences
        if self._budget is None or not sentences:
            return False
        elapsed = time.monotonic() - self._started
        return elapsed + reserve * seconds / sentences > self._budget.amount
