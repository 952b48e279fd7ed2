from __future__ import annotations

from demosearch.encoder.batching import Row, batches, shared_prefix
from demosearch.encoder.tokens import Tokens


def test_the_shared_prefix_saves_the_most_tokens() -> None:
    assert shared_prefix([[1, 2, 3], [1, 2, 3], [1]]) == [1, 2, 3]
    assert shared_prefix([[1, 2], [1], [1], [1], [1, 2]]) == [1]
    assert shared_prefix([[1], [3]]) == []
    assert shared_prefix([[1, 2, 3]]) == []
    assert shared_prefix([[1, 2], [1, 2], []]) == [1, 2]
    assert shared_prefix([]) == []


def test_batches_hold_whole_rows_within_the_budget() -> None:
    lengths = [3, 9, 1, 4, 30]
    rows = [Row(index, Tokens([0] * length)) for index, length in enumerate(lengths)]
    sizes = [[len(row) for row in batch] for batch in batches(rows, 10)]
    assert sizes == [[30], [9], [4, 3, 1]]


def test_batches_of_one_length_do_not_mix_lengths() -> None:
    lengths = [3, 4, 3, 3, 4, 3]
    rows = [Row(index, Tokens([0] * length)) for index, length in enumerate(lengths)]
    divided = [[row.index for row in batch] for batch in batches(rows, 9, one_length=True)]
    assert divided == [[1, 4], [0, 2, 3], [5]]
