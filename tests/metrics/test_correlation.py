from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from demosearch.metrics.correlation import (
    normal_scores_correlation,
    normal_scores_influences,
    pearson,
    pearson_correlation,
    pearson_influences,
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


def test_influences_are_the_change_of_the_correlation_by_a_heavier_pair() -> None:
    generator = np.random.default_rng(3)
    similarities = generator.normal(size=(2, 60))
    gold = similarities[0] + generator.normal(size=60)
    found = pearson_influences(similarities, gold)
    step = 1e-6
    for row, values in enumerate(similarities):
        for pair in range(0, 60, 7):
            weights = np.full(60, (1 - step) / 60)
            weights[pair] += step
            covariance = np.cov(values, gold, aweights=weights, bias=True)
            heavier = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
            change = 100 * (heavier - np.corrcoef(values, gold)[0, 1]) / step
            assert found[row, pair] == pytest.approx(change, abs=1e-3)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-9)


def test_the_variance_of_normal_scores_influences_is_that_of_samples() -> None:
    generator = np.random.default_rng(4)
    similarities = generator.normal(size=4000)
    gold = similarities + generator.normal(size=4000)
    samples = [generator.choice(4000, 200) for _ in range(500)]
    correlations = [normal_scores_correlation(similarities[rows], gold[rows]) for rows in samples]
    expected = np.std(correlations)
    error = normal_scores_influences(similarities, gold).std() / np.sqrt(200)
    assert error == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1e-300, 1e300])
@pytest.mark.parametrize("number", [3, 7, 10, 100])
def test_equal_values_whose_mean_is_rounded_have_no_correlation(value: float, number: int) -> None:
    # The mean of ten times 0.1 is not 0.1.
    constant, other = np.full(number, value), np.arange(number) ** 2.0
    for correlation in (spearman, pearson):
        assert np.isnan(correlation(constant, list(other)))
        assert np.isnan(correlation(other, list(constant)))
        assert np.isnan(correlation(np.full(number, 0.1, dtype=np.float32), list(other)))
    rows = np.stack([constant, other])
    found = pearson_correlation(rows, np.arange(number) + 0.1)
    assert np.isnan(found[0])
    assert np.isfinite(found[1])


@pytest.mark.parametrize("scale", [1e-305, 1e-200, 1e160, 1e300])
def test_the_scale_of_the_gold_scores_does_not_matter(scale: float) -> None:
    generator = np.random.default_rng(2)
    similarities, gold = generator.normal(size=50), generator.normal(size=50)
    expected = 100 * stats.pearsonr(similarities, gold).statistic
    assert pearson(similarities, list(gold * scale)) == pytest.approx(expected, abs=1e-6)


def test_values_that_are_not_finite_have_no_correlation() -> None:
    for value in (np.nan, np.inf):
        assert np.isnan(pearson(np.array([value, 1, 2]), [1, 2, 3]))
