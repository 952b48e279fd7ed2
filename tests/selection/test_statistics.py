from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from demosearch.selection.statistics import best_on, gain_interval, spearman, split_estimate


def test_spearman_by_hand_and_by_scipy() -> None:
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8.
    assert spearman(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32), [1, 3, 2, 4]) == 80.0
    generator = np.random.default_rng(0)
    similarities = generator.normal(size=300).astype(np.float32)
    gold = list(generator.integers(0, 6, 300).astype(float))
    expected = 100 * stats.spearmanr(similarities, gold).statistic
    assert spearman(similarities, gold) == pytest.approx(expected, abs=1e-5)


def test_constant_similarities_have_no_correlation() -> None:
    assert np.isnan(spearman(np.ones(5, dtype=np.float32), [1, 2, 3, 4, 5]))


def sample(
    seed: int, noise_ours: float, noise_baseline: float, pairs: int = 400
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    generator = np.random.default_rng(seed)
    gold = generator.uniform(0, 5, pairs)
    ours = (gold + noise_ours * generator.normal(size=pairs)).astype(np.float32)
    baseline = (gold + noise_baseline * generator.normal(size=pairs)).astype(np.float32)
    return ours, baseline, list(gold)


def test_interval_agrees_with_a_plain_loop() -> None:
    ours, baseline, gold = sample(1, 1.0, 2.0)
    low, high = gain_interval(ours, baseline, gold, seed=3)
    generator = np.random.default_rng(99)
    gains = []
    for _ in range(1000):
        chosen = generator.integers(0, len(gold), len(gold))
        gains.append(
            spearman(ours[chosen], np.array(gold)[chosen])
            - spearman(baseline[chosen], np.array(gold)[chosen])
        )
    expected = np.percentile(gains, [2.5, 97.5])
    # The interval is 15 points wide; its ends are themselves estimates.
    np.testing.assert_allclose([low, high], expected, atol=1.0)
    assert gain_interval(ours, baseline, gold, seed=3) == (low, high)


def test_interval_of_no_gain_holds_zero() -> None:
    ours, _, gold = sample(2, 1.0, 1.0)
    assert gain_interval(ours, ours, gold, seed=0) == (0.0, 0.0)


def test_estimate_is_below_the_best_of_many_equals() -> None:
    generator = np.random.default_rng(4)
    gold = generator.uniform(0, 5, 100)
    candidates = (gold + 2 * generator.normal(size=(60, 100))).astype(np.float32)
    baseline = (gold + 2 * generator.normal(size=100)).astype(np.float32)
    best = max(spearman(row, list(gold)) for row in candidates) - spearman(baseline, list(gold))
    mean = np.mean([spearman(row, list(gold)) for row in candidates]) - spearman(
        baseline, list(gold)
    )
    choose = best_on(candidates, list(gold))
    estimate, (low, high) = split_estimate(choose, baseline, list(gold), seed=0)
    # All candidates are equally good in truth, so the truth is near their mean, not the best.
    assert abs(estimate - mean) < abs(estimate - best)
    assert low < estimate < high
