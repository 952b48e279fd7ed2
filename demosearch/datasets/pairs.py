"""Scored sentence pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from demosearch._common.files import sha256
from demosearch.errors import UserError

FEWEST_PAIRS = 10


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs with gold scores, of one set or of several.

    Attributes:
        name: what the data is called in files and tables.
        sentences1: first sentences, as they stand in the source.
        sentences2: second sentences, same length.
        scores: gold similarity, any scale on which more is more alike; each set may have its own.
        sets: the sets that were joined, one after the other; empty: it is one.
    """

    name: str
    sentences1: tuple[str, ...]
    sentences2: tuple[str, ...]
    scores: tuple[float, ...]
    sets: tuple[Pairs, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def sha256(self) -> str:
        """Hash of all sentences and scores in order, and of where sets end."""
        rows = zip(self.sentences1, self.sentences2, self.scores, strict=True)
        lines = [f"{first}\x1f{second}\x1f{score!r}" for first, second, score in rows]
        return sha256([*lines, *(str(len(each)) for each in self.sets)])

    @property
    def set_sizes(self) -> tuple[int, ...]:
        """How many pairs each set has."""
        return tuple(len(each) for each in self.sets) or (len(self),)

    @classmethod
    def joined(cls, sets: Sequence[Pairs]) -> Pairs:
        """Return several sets as one value; one by itself is what it is."""
        if len(sets) == 1:
            return sets[0]
        return cls(
            "+".join(each.name for each in sets),
            tuple(text for each in sets for text in each.sentences1),
            tuple(text for each in sets for text in each.sentences2),
            tuple(score for each in sets for score in each.scores),
            tuple(sets),
        )

    def sentences(self, indices: Sequence[int] | None = None) -> list[str]:
        """Return the distinct sentences of the pairs at `indices` (all when None), in order."""
        chosen = range(len(self)) if indices is None else indices
        both = [text for i in chosen for text in (self.sentences1[i], self.sentences2[i])]
        return list(dict.fromkeys(both))

    def places(
        self, texts: Sequence[str], indices: Sequence[int] | None = None
    ) -> tuple[list[int], list[int]]:
        """Return where the first and the second sentences of some pairs (None: all) are in `texts`."""
        place = {text: row for row, text in enumerate(texts)}
        chosen = range(len(self)) if indices is None else indices
        first = [place[self.sentences1[index]] for index in chosen]
        return first, [place[self.sentences2[index]] for index in chosen]

    def check(self, source: str) -> Pairs:
        """Return the pairs if they can rank anything.

        Raises:
            UserError: fewer than 10 pairs, a score that is not finite, or all scores equal.
        """
        for row, score in enumerate(self.scores, start=1):
            if not math.isfinite(score):
                raise UserError(f"{source}: the score of pair {row} is {score}; remove the pair")
        if len(self) < FEWEST_PAIRS:
            raise UserError(f"{source}: {len(self)} pairs; at least {FEWEST_PAIRS} are needed")
        if len(set(self.scores)) == 1:
            raise UserError(
                f"{source}: every score is {self.scores[0]:g}; a rank correlation needs"
                " scores that differ"
            )
        return self
