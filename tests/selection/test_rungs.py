from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demosearch.selection.rungs import (
    HILBERT_SIDE,
    MIN_FINALISTS,
    hilbert_distance,
    planned_pairs,
    rung_sizes,
    spread_order,
    survivors,
)


@given(st.integers(10, 20000))
def test_rung_sizes_increase_to_all_pairs(pairs: int) -> None:
    sizes = rung_sizes(pairs)
    assert sizes[-1] == pairs
    assert sizes == sorted(set(sizes))


@given(st.integers(1, 5000), st.integers(0, 30))
def test_the_number_of_survivors_never_increases(candidates: int, rung: int) -> None:
    left = survivors(candidates, rung)
    assert min(candidates, MIN_FINALISTS) <= left <= candidates
    assert survivors(candidates, rung + 1) <= left


@pytest.mark.parametrize(("candidates", "share"), [(300, 0.061), (1000, 0.042)])
def test_the_cuts_alone_leave_a_small_share_of_all_pairs(candidates: int, share: float) -> None:
    rungs = rung_sizes(1500, candidates=candidates)
    assert planned_pairs(candidates, rungs) < share * (candidates + 1) * 1500


def test_neighbors_on_the_curve_are_neighbors_in_the_square() -> None:
    x, y = (side.ravel() for side in np.meshgrid(*[np.arange(HILBERT_SIDE)] * 2))
    order = np.argsort(hilbert_distance(x, y))
    steps = np.abs(np.diff(x[order])) + np.abs(np.diff(y[order]))
    assert (steps == 1).all()


@given(st.integers(1, 300), st.integers(0, 5))
def test_the_order_of_pairs_is_a_permutation(pairs: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 6, pairs) / 2
    order = spread_order(scores.tolist(), generator.random(pairs).astype(np.float32), seed)
    assert sorted(order) == list(range(pairs))


def test_the_random_seed_decides_the_order_of_pairs() -> None:
    generator = np.random.default_rng(0)
    scores, similarities = list(np.arange(200) % 6), generator.random(200).astype(np.float32)
    first, again, other = (spread_order(scores, similarities, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_prefix_is_spread_over_scores_and_similarities(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores, similarities = generator.random((2, 1024))
    chosen = spread_order(scores.tolist(), similarities.astype(np.float32), seed)[:64]
    quarters = [np.argsort(np.argsort(axis))[chosen] * 4 // 1024 for axis in (scores, similarities)]
    counts = np.bincount(quarters[0] * 4 + quarters[1], minlength=16)
    # Sixteen cells with four pairs each; a random choice leaves some empty and some with ten.
    assert counts.min() >= 3
    assert counts.max() <= 5
