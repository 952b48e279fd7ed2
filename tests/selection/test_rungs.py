from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demosearch.selection.race import planned_pairs
from demosearch.selection.rungs import (
    FEWEST_FINALISTS,
    HILBERT_SIDE,
    hilbert_place,
    rung_sizes,
    spread_order,
    stratified_order,
    survivors,
)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=300), st.integers(0, 1000))
def test_every_pair_comes_once(scores: list[float], seed: int) -> None:
    assert sorted(stratified_order(scores, seed)) == list(range(len(scores)))


@given(st.integers(0, 1000), st.sampled_from([16, 64, 128, 500]))
def test_every_beginning_is_spread_over_the_scores(seed: int, size: int) -> None:
    scores = np.random.default_rng(5).uniform(0, 5, 1500)
    chosen = np.sort(scores[stratified_order(scores, seed)[:size]])
    quantiles = np.quantile(scores, (np.arange(size) + 0.5) / size)
    # Even spacing in rank; a random subset of 64 is off by 0.6 here.
    assert np.abs(chosen - quantiles).max() < 5 * 2 / size + 0.05


def test_seed_decides_the_order() -> None:
    scores = list(np.arange(200) % 6)
    assert (stratified_order(scores, 1) == stratified_order(scores, 1)).all()
    assert (stratified_order(scores, 1) != stratified_order(scores, 2)).any()


@given(st.integers(10, 20000))
def test_rungs_rise_to_all_pairs(pairs: int) -> None:
    sizes = rung_sizes(pairs)
    assert sizes[-1] == pairs
    assert sizes == sorted(set(sizes))


@given(st.integers(1, 5000), st.integers(0, 30))
def test_some_go_on_and_never_more_than_before(candidates: int, rung: int) -> None:
    now = survivors(candidates, rung)
    assert min(candidates, FEWEST_FINALISTS) <= now <= candidates
    assert survivors(candidates, rung + 1) <= now


def test_a_race_of_300_looks_at_less_than_a_tenth_of_all_pairs() -> None:
    assert planned_pairs(300, rung_sizes(1500)) < 0.08 * 301 * 1500


def test_neighbours_on_the_curve_are_neighbours_in_the_square() -> None:
    x, y = (side.ravel() for side in np.meshgrid(*[np.arange(HILBERT_SIDE)] * 2))
    order = np.argsort(hilbert_place(x, y))
    steps = np.abs(np.diff(x[order])) + np.abs(np.diff(y[order]))
    assert (steps == 1).all()


@given(st.integers(1, 300), st.integers(0, 5))
def test_every_pair_is_looked_at_once(pairs: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 6, pairs) / 2
    order = spread_order(scores.tolist(), generator.random(pairs).astype(np.float32), seed)
    assert sorted(order) == list(range(pairs))


@pytest.mark.parametrize("seed", range(5))
def test_a_beginning_is_spread_over_scores_and_similarities(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores, similarities = generator.random((2, 1024))
    chosen = spread_order(scores.tolist(), similarities.astype(np.float32), seed)[:64]
    quarters = [np.argsort(np.argsort(each))[chosen] * 4 // 1024 for each in (scores, similarities)]
    counts = np.bincount(quarters[0] * 4 + quarters[1], minlength=16)
    # Sixteen cells with four each; a random choice leaves some with none and some with ten.
    assert counts.min() >= 3
    assert counts.max() <= 5
    again = spread_order(scores.tolist(), similarities.astype(np.float32), seed)
    assert (again[:64] == chosen).all()
