from __future__ import annotations

import torch

from demosearch.encoder.attention import Packing


def test_positions_follow_the_prefix() -> None:
    keys = torch.zeros(1, 2, 4, 8)
    packing = Packing([3, 1, 2], {0: (keys, keys)})
    assert packing.positions().tolist() == [[4, 5, 6, 4, 4, 5]]


def test_indices_select_every_token_of_every_sentence() -> None:
    padded, real = Packing([3, 1, 2]).indices(torch.device("cpu"))
    assert padded.tolist() == [[0, 1, 2], [3, 3, 3], [4, 5, 4]]
    assert padded.flatten()[real].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_query_sees_the_prefix_and_the_tokens_before_it() -> None:
    keys = torch.zeros(1, 2, 2, 8)
    packing = Packing([3, 2], {0: (keys, keys)})
    cpu = torch.device("cpu")
    assert packing.mask(None, cpu)[0, 0].int().tolist() == [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
    ]
    assert packing.mask(2, cpu)[0, 0].int().tolist() == [
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1],
    ]
