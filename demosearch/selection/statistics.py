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
    with np.errstate(invalid="ignore"):
        return round(100 * float(_correlation(similarities, np.asarray(scores))), 6)


def pearson(similarities: NDArray[np.float32], scores: Sequence[float]) -> float:
    """Return Pearson's correlation x 100; nan where either side is constant.

    >>> pearson(np.array([0.5, 1.0, 1.5], dtype=np.float32), [1.0, 2.0, 3.0])
    100.0
    """
    first, second = (np.asarray(values, dtype=float) for values in (similarities, scores))
    return round(100 * float(_pearson(first, second)), 6)


def normal_scores_correlation(
    similarities: NDArray[np.float32], scores: Sequence[float]
) -> NDArray[np.float64]:
    """Return the correlation of normal scores with the ranks of the gold scores, x 100.

    A similarity's normal score is the normal quantile of its rank (van der Waerden). On few pairs
    this orders prompts with less error than Spearman's correlation does.

    Args:
        similarities: shape (..., n).
        scores: gold scores, length n.

    Returns:
        Shape (...); nan where the similarities are constant.
    """
    ranks = stats.rankdata(similarities, axis=-1)
    normal = stats.norm.ppf(ranks / (similarities.shape[-1] + 1))
    return np.asarray(100 * _pearson(normal, stats.rankdata(scores)))


def gain_interval(
    ours: NDArray[np.float32],
    baseline: NDArray[np.float32],
    scores: Sequence[float],
    seed: int,
) -> tuple[float, float]:
    """Return the 95% interval of the gain over the baseline by paired bootstrap over the pairs.

    Both prompts are scored on the same resampled pairs. The interval says how much the gain depends
    on the pairs; it is not adjusted for having chosen the best of many.

    Args:
        ours: similarities of the chosen prompt, shape (n,).
        baseline: similarities without demonstration, shape (n,).
        scores: gold scores, length n.
        seed: of the resampling.
    """
    return gain_intervals(ours, [baseline], scores, seed)[0]


def gain_intervals(
    ours: NDArray[np.float32],
    others: Sequence[NDArray[np.float32]],
    scores: Sequence[float],
    seed: int,
) -> list[tuple[float, float]]:
    """Return the 95% interval of what a prompt is ahead of each of several; as `gain_interval`."""

    def gains(*samples: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        *systems, gold = (stats.rankdata(each, axis=axis) for each in samples)
        first, *rest = (100 * _pearson(each, gold, axis) for each in systems)
        return np.stack([first - other for other in rest])

    with warnings.catch_warnings():
        # A resample without two different gold scores ranks nothing, and is left out.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (ours, *others, np.asarray(scores)),
            gains,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=100,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = np.nanpercentile(result.bootstrap_distribution, [2.5, 97.5], axis=-1)
    return [
        (round(float(one), 3), round(float(other), 3))
        for one, other in zip(np.ravel(low), np.ravel(high), strict=True)
    ]


def split_estimate(
    choose: Callable[[NDArray[np.intp]], NDArray[np.float32]],
    baseline: NDArray[np.float32],
    scores: Sequence[float],
    seed: int,
) -> tuple[float, tuple[float, float]]:
    """Return the gain one may expect on other pairs, and its 95% range over splits.

    The best of many on the pairs that also score it flatters. Here the choice is made on a random
    half of the pairs and its gain is taken on the other half, again and again.

    Args:
        choose: makes the choice on the pairs of some indices, and returns the similarities of all
            pairs under what it chose, shape (n,).
        baseline: similarities without demonstration, shape (n,).
        scores: gold scores, length n.
        seed: of the splits.
    """
    gold = np.asarray(scores)
    generator = np.random.default_rng(seed)
    gains = np.empty(SPLITS)
    for split in range(SPLITS):
        order = generator.permutation(len(gold))
        rows, check = order[: len(gold) // 2], order[len(gold) // 2 :]
        if min(np.ptp(gold[rows]), np.ptp(gold[check])) == 0:
            # Where few pairs differ in score, a half may rank nothing.
            gains[split] = np.nan
            continue
        ours = _correlation(choose(rows)[check], gold[check])
        gains[split] = 100 * (ours - _correlation(baseline[check], gold[check]))
    low, high = np.nanpercentile(gains, [2.5, 97.5])
    return round(float(np.nanmean(gains)), 3), (round(float(low), 3), round(float(high), 3))


def best_on(
    candidates: NDArray[np.float32], scores: Sequence[float]
) -> Callable[[NDArray[np.intp]], NDArray[np.float32]]:
    """Return what chooses the best of some candidates on given pairs, for `split_estimate`.

    Args:
        candidates: similarities, shape (candidates, n).
        scores: gold scores, length n.
    """
    gold = np.asarray(scores)

    def choose(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        correlations = np.nan_to_num(_correlation(candidates[:, rows], gold[rows]), nan=-1.0)
        found: NDArray[np.float32] = candidates[int(np.argmax(correlations))]
        return found

    return choose


def _correlation(first: NDArray[Any], second: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Return Spearman's correlation along `axis`, broadcasting: Pearson's of the ranks."""
    ranks = [stats.rankdata(values, axis=axis) for values in (first, second)]
    return _pearson(ranks[0], ranks[1], axis)


def _pearson(first: NDArray[Any], second: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Return Pearson's correlation along `axis`, broadcasting."""
    centred = [values - values.mean(axis=axis, keepdims=True) for values in (first, second)]
    product = (centred[0] * centred[1]).sum(axis=axis)
    norms = [np.sqrt((values**2).sum(axis=axis)) for values in centred]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(product / (norms[0] * norms[1]))
