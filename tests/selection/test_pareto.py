from __future__ import annotations

import numpy as np

from demosearch.selection.pareto import fronts


def test_fronts_are_what_pairwise_comparison_finds() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 12, 60).astype(float)
    costs = generator.integers(0, 12, 60)
    found = fronts(list(scores), list(costs))
    left = list(range(60))
    front = 0
    while left:
        beaten = [
            one
            for one in left
            if any(
                (scores[other] >= scores[one] and costs[other] <= costs[one])
                and (scores[other] > scores[one] or costs[other] < costs[one] or other < one)
                for other in left
            )
        ]
        assert {one for one in left if found[one] == front} == set(left) - set(beaten)
        left, front = beaten, front + 1


def test_nothing_has_no_fronts() -> None:
    assert fronts([], []).tolist() == []


def test_what_was_not_scored_is_in_some_front_all_the_same() -> None:
    assert fronts([-np.inf, -np.inf], [1, 1]).tolist() == [0, 1]
