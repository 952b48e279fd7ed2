"""Scored sentence pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from demosearch._common.containers import as_scores, as_texts
from demosearch._common.files import sha256
from demosearch.errors import UserError

MIN_PAIRS = 10


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs with gold scores, from one set or from several.

    Attributes:
        name: name of the data in files and tables.
        sentences1: first sentences, exactly as in the source.
        sentences2: second sentences.
        scores: gold similarities on any scale on which higher means more similar; sets may have
            different scales.
        sets: the sets that were joined, in order; empty for a single set.

    Raises:
        UserError: a sentence is not a text, a score is not a number, or their numbers differ.
    """

    name: str
    sentences1: tuple[str, ...]
    sentences2: tuple[str, ...]
    scores: tuple[float, ...]
    sets: tuple[Pairs, ...] = ()

    def __post_init__(self) -> None:
        # Columns of a table become tuples here.
        for name in ("sentences1", "sentences2"):
            texts = as_texts(getattr(self, name), f"{name} of '{self.name}'")
            object.__setattr__(self, name, tuple(texts))
        object.__setattr__(self, "scores", as_scores(self.scores, f"scores of '{self.name}'"))
        lengths = len(self.sentences1), len(self.sentences2), len(self.scores)
        if len(set(lengths)) > 1:
            raise UserError(
                f"the pairs '{self.name}' must have as many first and second sentences as scores but"
                f" got {lengths[0]}, {lengths[1]} and {lengths[2]}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def sha256(self) -> str:
        """Hash of all sentences and scores in order, and of the sizes of joined sets."""
        rows = zip(self.sentences1, self.sentences2, self.scores, strict=True)
        lines = [f"{first}\x1f{second}\x1f{score!r}" for first, second, score in rows]
        return sha256([*lines, *(str(len(pairs)) for pairs in self.sets)])

    @property
    def set_sizes(self) -> tuple[int, ...]:
        """The number of pairs in each set."""
        return tuple(len(pairs) for pairs in self.sets) or (len(self),)

    @classmethod
    def joined(cls, sets: Sequence[Pairs]) -> Pairs:
        """Return several sets as one value; a single set is returned unchanged."""
        if len(sets) == 1:
            return sets[0]
        return cls(
            "+".join(pairs.name for pairs in sets),
            tuple(text for pairs in sets for text in pairs.sentences1),
            tuple(text for pairs in sets for text in pairs.sentences2),
            tuple(score for pairs in sets for score in pairs.scores),
            tuple(sets),
        )

    def sentences(self, indices: Sequence[int] | None = None) -> list[str]:
        """Return the distinct sentences of the pairs at `indices` (None: all pairs), in order."""
        chosen = range(len(self)) if indices is None else indices
        both = [text for i in chosen for text in (self.sentences1[i], self.sentences2[i])]
        return list(dict.fromkeys(both))

    def sentence_rows(
        self, texts: Sequence[str], indices: Sequence[int] | None = None
    ) -> tuple[list[int], list[int]]:
        """Return the rows in `texts` of the first and of the second sentences of pairs.

        Args:
            texts: contains the sentences of the pairs.
            indices: of the pairs; None means all pairs.
        """
        rows = {text: row for row, text in enumerate(texts)}
        chosen = range(len(self)) if indices is None else indices
        first = [rows[self.sentences1[index]] for index in chosen]
        return first, [rows[self.sentences2[index]] for index in chosen]

    def location(self, text: str) -> str:
        """Return the first pair with a sentence as messages name it, e.g. `stsb, pair 7`."""
        both = zip(self.sentences1, self.sentences2, strict=True)
        return self.location_of(next(row for row, texts in enumerate(both) if text in texts))

    def location_of(self, row: int) -> str:
        """Return the pair in a row as messages name it, with the name of its set."""
        for pairs in self.sets:
            if row < len(pairs):
                return f"{pairs.name}, pair {row + 1}"
            row -= len(pairs)
        return f"{self.name}, pair {row + 1}"

    def check(self, source: str) -> Pairs:
        """Return the pairs if a rank correlation can be computed on them.

        Args:
            source: the file or data set, for errors.

        Raises:
            UserError: there are fewer than 10 pairs, a score is not finite, or all scores are equal.
        """
        self.check_finite(source)
        if len(self) < MIN_PAIRS:
            raise UserError(
                f"{source}: the number of pairs must be at least {MIN_PAIRS} but got {len(self)}"
            )
        if len(set(self.scores)) == 1:
            raise UserError(
                f"{source}: the scores must differ, because they are ranked, but all are"
                f" {self.scores[0]:g}"
            )
        return self

    def check_finite(self, source: str) -> None:
        """Check that all scores are finite.

        Args:
            source: the file or data set, for errors.

        Raises:
            UserError: a score is nan or infinite.
        """
        for row, score in enumerate(self.scores, start=1):
            if not math.isfinite(score):
                raise UserError(
                    f"{source}: the score of pair {row} must be finite but got {score}; remove the pair"
                )


def require_pairs(pairs: object, name: str) -> None:
    """Check that a caller passed pairs whose scores are numbers.

    Args:
        pairs: what the caller passed.
        name: the argument, for the message.

    Raises:
        UserError: it is another object, such as a table or the name of a file, or a score is not finite.
    """
    if not isinstance(pairs, Pairs):
        raise UserError(
            f"{name} must be Pairs but got a value of type {type(pairs).__name__}; use"
            " Pairs(name, sentences1, sentences2, scores), or read_pairs for a file"
        )
    pairs.check_finite(pairs.name)
