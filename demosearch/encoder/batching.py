"""Which prompts go through the model together, and which tokens they share."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from demosearch.encoder.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt that has to be run.

    Attributes:
        index: row of the output that holds its state.
        tokens: the tokens behind the shared prefix, or all tokens if the prompt does not share it.
    """

    index: int
    tokens: Tokens

    def __len__(self) -> int:
        return len(self.tokens.ids)


def split_off_prefix(rows: list[Row]) -> tuple[list[int], list[Row], list[Row]]:
    """Return the shared prefix, the rows that follow it, and the rows that do not share it."""
    prefix = shared_prefix([row.tokens.ids[: len(row) - row.tokens.needed] for row in rows])
    behind: list[Row] = []
    apart: list[Row] = []
    for row in rows:
        tokens = row.tokens
        length = len(row) - len(prefix)
        if prefix and length >= tokens.needed and tokens.ids[: len(prefix)] == prefix:
            rest = Tokens(tokens.ids[len(prefix) :], tokens.pooled, tokens.behind)
            behind.append(Row(row.index, rest))
        else:
            apart.append(row)
    return prefix, behind, apart


def shared_prefix(rows: list[list[int]]) -> list[int]:
    """Return the token prefix whose caching saves the most tokens.

    A prefix of n tokens that k rows begin with saves n * (k - 1) tokens. Token ids are compared, not
    text, because punctuation at the start of a text may merge with the template's opening quote.

    Args:
        rows: the part of each prompt that may be shared: all tokens before the pooled ones.

    >>> shared_prefix([[1, 2, 3], [1, 2, 3], [1]])
    [1, 2, 3]
    >>> shared_prefix([[1, 2, 3], [1, 2, 4], [1, 2]])
    [1, 2]
    """
    best: list[int] = []
    saved = 0
    current = list(rows)
    for length in itertools.count(1):
        current = [row for row in current if len(row) >= length]
        if len(current) < 2:
            return best
        token, count = Counter(row[length - 1] for row in current).most_common(1)[0]
        current = [row for row in current if row[length - 1] == token]
        if length * (count - 1) > saved:
            best, saved = current[0][:length], length * (count - 1)
        elif count * max(map(len, current)) <= saved:
            return best
    raise AssertionError("unreachable: rows are finite")


def batches(
    rows: Sequence[Row], token_budget: int, *, one_length: bool = False
) -> Iterator[list[Row]]:
    """Yield batches of rows, from long to short, whose tokens fit the budget.

    A row longer than the budget is a batch of its own. Rows of similar length share a batch, because
    attention pads the rows of a batch to the longest one.

    Args:
        rows: the rows, in any order.
        token_budget: maximum number of tokens of a batch.
        one_length: only rows of the same length share a batch.
    """
    batch: list[Row] = []
    tokens = 0
    for row in sorted(rows, key=lambda row: (-len(row), row.index)):
        other_length = one_length and len(row) != len(batch[-1]) if batch else False
        if batch and (other_length or tokens + len(row) > token_budget):
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += len(row)
    if batch:
        yield batch
