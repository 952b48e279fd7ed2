from __future__ import annotations

import numpy as np
import pytest

from demosearch.metrics.bootstrap import SPLITS, bootstrap_differences, interval, split_gains
from demosearch.metrics.correlation import rank_correlation


def accuracy(values: np.ndarray, _gold: np.ndarray) -> np.ndarray:
    return 100 * values.mean(axis=-1)


def test_all_systems_are_scored_on_the_same_resampled_pairs() -> None:
    generator = np.random.default_rng(0)
    gold = generator.uniform(0, 5, 80)
    system, first, second = gold + generator.normal(size=(3, 80))
    both = bootstrap_differences(system, [first, second], gold, rank_correlation, seed=3)
    assert both.shape == (2, 2000)
    for differences, other in zip(both, (first, second), strict=True):
        (alone,) = bootstrap_differences(system, [other], gold, rank_correlation, seed=3)
        np.testing.assert_array_equal(alone, differences)
    (between,) = bootstrap_differences(first, [second], gold, rank_correlation, seed=3)
    np.testing.assert_allclose(both[1] - both[0], between, atol=1e-9)
    assert not bootstrap_differences(system, [system], gold, rank_correlation, seed=3).any()


def test_the_interval_of_a_difference_of_accuracies_is_the_binomial_one() -> None:
    generator = np.random.default_rng(1)
    system, other = (generator.random((2, 500)) < 0.7).astype(float)
    (differences,) = bootstrap_differences(system, [other], None, accuracy, seed=0)
    paired = 100 * (system - other)
    center, error = paired.mean(), paired.std() / np.sqrt(500)
    # The bounds are estimates: 2000 resamples know them to about a tenth of the standard error.
    assert interval(differences) == pytest.approx(
        (center - 1.96 * error, center + 1.96 * error), abs=0.25 * error
    )


def test_the_number_of_resamples_and_the_seed_are_arguments() -> None:
    system, other = np.arange(20.0), np.arange(20.0)[::-1]
    first, again, different = (
        bootstrap_differences(system, [other], None, accuracy, seed, resamples=150)
        for seed in ([0, 1], [0, 1], [0, 2])
    )
    assert first.shape == (1, 150)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, different)


def test_resamples_without_differing_gold_scores_are_left_out_of_the_interval() -> None:
    gold = np.array([0.0, 0.0, 1.0])
    system, other = np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.1, 0.2])
    (differences,) = bootstrap_differences(system, [other], gold, rank_correlation, seed=0)
    assert np.isnan(differences).any()
    assert np.isfinite(interval(differences)).all()


def test_each_set_is_halved_separately() -> None:
    sets = [np.arange(6), np.arange(6, 11)]
    halves: list[tuple[set[int], set[int]]] = []

    def gain(choosing: np.ndarray, measuring: np.ndarray) -> float:
        halves.append((set(choosing.tolist()), set(measuring.tolist())))
        return float(len(halves))

    assert split_gains(gain, sets, seed=0).tolist() == list(range(1, SPLITS + 1))
    for choosing, measuring in halves:
        assert choosing | measuring == set(range(11))
        assert not choosing & measuring
        assert (len(choosing & {0, 1, 2, 3, 4, 5}), len(choosing)) == (3, 5)
    assert len({frozenset(choosing) for choosing, _ in halves}) > 100
