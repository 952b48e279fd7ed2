from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from demosearch.metrics.correlation import (
    normal_scores_correlation,
    pearson,
    pearson_correlation,
    rank_correlation,
    spearman,
)


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


def test_correlations_are_computed_along_the_last_axis() -> None:
    generator = np.random.default_rng(1)
    similarities = generator.normal(size=(2, 3, 40)).astype(np.float32)
    gold = generator.integers(0, 6, 40)
    for found, function in (
        (rank_correlation(similarities, gold), stats.spearmanr),
        (pearson_correlation(similarities, gold), stats.pearsonr),
    ):
        expected = [[100 * function(row, gold).statistic for row in rows] for rows in similarities]
        np.testing.assert_allclose(found, expected, atol=1e-8)
    assert pearson(similarities[0, 0], list(gold)) == pytest.approx(
        100 * stats.pearsonr(similarities[0, 0].astype(float), gold).statistic, abs=1e-5
    )


def test_normal_scores_by_hand() -> None:
    similarities = np.array([0.3, 0.1, 0.2], dtype=np.float32)
    # Ranks 3 1 2 of 3: quantiles of 3/4, 1/4 and 2/4.
    normal = stats.norm.ppf([0.75, 0.25, 0.5])
    expected = 100 * np.corrcoef(normal, [3, 2, 1])[0, 1]
    found = normal_scores_correlation(similarities, np.array([5.0, 4.0, 0.0]))
    assert found == pytest.approx(expected)
