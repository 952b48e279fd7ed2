from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demosearch import search
from demosearch.selection.pareto import fronts
from tests.fakes import FakeEncoder
from tests.selection.searches import DEV, long_candidates, open_study


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


@pytest.mark.usefixtures("fewer_resamples")
def test_a_prompt_of_every_length_is_found(tmp_path: Path) -> None:
    result = search(FakeEncoder(), long_candidates(), DEV, folder=tmp_path, pareto=True)
    front = result.file.pareto
    assert front is not None
    # Every longer prompt is better, and those shorter ones that are worse than none are not in it.
    assert front[0].id == "baseline"
    assert front[-1].word == result.file.demonstrations[0].word == "W15"
    tokens = [one.tokens for one in front]
    # All of the front on the last rung but one stayed in the race.
    assert len(front) > 6
    scores = [one.spearman for one in front]
    assert tokens == sorted(set(tokens))
    assert scores == sorted(set(scores))
    study = open_study(tmp_path)
    assert [len(trial.values) for trial in study.best_trials] == [2] * len(study.best_trials)
    assert {trial.user_attrs["candidate"] for trial in study.best_trials} == {
        one.id for one in front
    }
