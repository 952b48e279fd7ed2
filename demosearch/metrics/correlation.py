"""Correlations of similarities with gold scores, x 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The squares of numbers between this one and its inverse can be summed.
_LARGEST = 1e140


def spearman(similarities: NDArray[np.float32], scores: Sequence[float]) -> float:
    """Return Spearman's rank correlation x 100; nan where either side is constant.

    >>> spearman(np.array([0.1, 0.9, 0.4], dtype=np.float32), [1.0, 5.0, 2.0])
    100.0
    """
    return round(float(rank_correlation(similarities, np.asarray(scores))), 6)


def pearson(similarities: NDArray[np.float32], scores: Sequence[float]) -> float:
    """Return Pearson's correlation x 100; nan where either side is constant.

    >>> pearson(np.array([0.5, 1.0, 1.5], dtype=np.float32), [1.0, 2.0, 3.0])
    100.0
    """
    return round(float(pearson_correlation(similarities, np.asarray(scores))), 6)


def rank_correlation(similarities: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
    """Return Spearman's correlation x 100 along the last axis; nan where either side is constant.

    Args:
        similarities: shape (..., n).
        gold: gold scores, shape (..., n); shapes are broadcast.
    """
    return pearson_correlation(stats.rankdata(similarities, axis=-1), stats.rankdata(gold, axis=-1))


def pearson_correlation(similarities: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
    """Return Pearson's correlation x 100 along the last axis; nan where either side is constant.

    Args:
        similarities: shape (..., n).
        gold: gold scores, shape (..., n); shapes are broadcast.
    """
    first, second = _centered(similarities), _centered(gold)
    product = (first * second).sum(axis=-1)
    norms = np.sqrt((first**2).sum(axis=-1)) * np.sqrt((second**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * (product / norms))


def normal_scores_correlation(
    similarities: NDArray[Any], gold: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the correlation x 100 of the similarities' normal scores with the gold scores' ranks.

    A normal score is the normal quantile of a rank (van der Waerden). Extreme ranks count for more
    than in Spearman's correlation. Shapes and nan are as in `rank_correlation`.
    """
    return pearson_correlation(_normal_scores(similarities), stats.rankdata(gold, axis=-1))


def pearson_influences(similarities: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
    """Return how much each pair contributes to Pearson's correlation x 100, shape (..., n).

    This is the influence function of the correlation. Its mean is 0, and its variance divided by n is the
    variance of the correlation over samples of n pairs. Shapes and nan are as in `pearson_correlation`.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = (
            centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True))
            for centered in (_centered(similarities), _centered(gold))
        )
    products = first * second
    correlation = products.mean(axis=-1, keepdims=True)
    return np.asarray(100 * (products - correlation / 2 * (first**2 + second**2)))


def normal_scores_influences(similarities: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
    """Return how much each pair contributes to `normal_scores_correlation`; see `pearson_influences`."""
    return pearson_influences(_normal_scores(similarities), stats.rankdata(gold, axis=-1))


def _normal_scores(similarities: NDArray[Any]) -> NDArray[np.float64]:
    ranks = stats.rankdata(similarities, axis=-1)
    return np.asarray(stats.norm.ppf(ranks / (ranks.shape[-1] + 1)))


def _centered(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return values minus their mean along the last axis; exactly 0 where all are equal.

    Values whose squares float64 does not hold are scaled, which does not change a correlation.
    """
    values = _moderate(np.asarray(values, dtype=np.float64))
    # The mean of equal values may differ from them in the last digit.
    is_constant = (values == values[..., :1]).all(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        centered = values - values.mean(axis=-1, keepdims=True)
    return _moderate(np.where(is_constant, 0, centered))


def _moderate(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values divided by the largest one along the last axis if that is extremely large or small."""
    largest = np.abs(values).max(axis=-1, keepdims=True, initial=0)
    is_extreme = (largest > _LARGEST) | ((largest < 1 / _LARGEST) & (largest > 0))
    if not is_extreme.any():
        return values
    with np.errstate(invalid="ignore"):
        return np.asarray(values / np.where(is_extreme, largest, 1))
