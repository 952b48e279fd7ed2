"""Scores, and how sure they are. All scores are Spearman x 100."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2000
SPLITS = 200


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
    return pearson_correlation(*(stats.rankdata(each, axis=-1) for each in (similarities, gold)))


def pearson_correlation(similarities: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
    """Return Pearson's correlation x 100 along the last axis; as `rank_correlation`."""
    values = (np.asarray(each, dtype=np.float64) for each in (similarities, gold))
    first, second = (each - each.mean(axis=-1, keepdims=True) for each in values)
    product = (first * second).sum(axis=-1)
    norms = np.sqrt((first**2).sum(axis=-1)) * np.sqrt((second**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * (product / norms))


def normal_scores_correlation(
    similarities: NDArray[Any], gold: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the correlation of normal scores with the ranks of the gold scores, x 100.

    A similarity's normal score is the normal quantile of its rank (van der Waerden). On few pairs
    this orders prompts with less error than Spearman's correlation does. As `rank_correlation`.
    """
    ranks = stats.rankdata(similarities, axis=-1)
    normal = stats.norm.ppf(ranks / (ranks.shape[-1] + 1))
    return pearson_correlation(normal, stats.rankdata(gold, axis=-1))


def bootstrap_gains(
    ours: NDArray[np.float32],
    others: Sequence[NDArray[np.float32]],
    gold: NDArray[Any],
    score: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]],
    seed: int,
) -> NDArray[np.float64]:
    """Return what similarities are ahead of each of some others on resampled pairs.

    All are scored on the same resampled pairs.

    Args:
        ours: shape (n,).
        others: each of shape (n,).
        gold: gold scores, shape (n,).
        score: of similarities and gold scores, along the last axis.
        seed: of the resampling.

    Returns:
        Shape (len(others), resamples); nan where a resample has no two different gold scores.
    """

    def gains(*samples: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        *systems, wanted = (np.moveaxis(each, axis, -1) for each in samples)
        first, *rest = score(np.stack(systems), wanted)
        return np.stack([first - other for other in rest])

    with warnings.catch_warnings():
        # A resample without two different gold scores ranks nothing, and is left out.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (ours, *others, gold),
            gains,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=100,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return np.reshape(result.bootstrap_distribution, (len(others), RESAMPLES))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the bounds of the middle 95% of values; nan are left out."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    # A metric may count in hundredths.
    return round(float(low), 6), round(float(high), 6)


def split_gains(
    gain: Callable[[NDArray[np.intp], NDArray[np.intp]], float],
    sets: Sequence[NDArray[np.intp]],
    seed: int,
) -> NDArray[np.float64]:
    """Return a gain on random halves of some sets, `SPLITS` times.

    Args:
        gain: of the indices that choose, and those that check the choice.
        sets: indices of pairs; every set is halved by itself.
        seed: of the halves.
    """
    generator = np.random.default_rng(seed)
    gains = np.empty(SPLITS)
    for split in range(SPLITS):
        orders = [generator.permutation(part) for part in sets]
        rows, check = (
            np.concatenate([order[: len(order) // 2] for order in orders]),
            np.concatenate([order[len(order) // 2 :] for order in orders]),
        )
        gains[split] = gain(rows, check)
    return gains
