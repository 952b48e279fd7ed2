"""Scores, and how sure they are. All scores are Spearman x 100."""

from __future__ import annotations

from collections.abc import Sequence
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
    centred = [np.asarray(values, dtype=float) for values in (similarities, scores)]
    centred = [values - values.mean() for values in centred]
    with np.errstate(invalid="ignore"):
        product = (centred[0] * centred[1]).sum()
        return round(float(100 * product / np.sqrt(np.prod([(x**2).sum() for x in centred]))), 6)


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

    def gain(
        first: NDArray[Any], second: NDArray[Any], gold: NDArray[Any], axis: int = -1
    ) -> NDArray[Any]:
        ranked = stats.rankdata(gold, axis=axis)
        return np.asarray(
            100 * (_correlation(first, ranked, axis) - _correlation(second, ranked, axis))
        )

    result = stats.bootstrap(
        (ours, baseline, np.asarray(scores)),
        gain,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return round(float(interval.low), 3), round(float(interval.high), 3)


def split_estimate(
    candidates: NDArray[np.float32],
    baseline: NDArray[np.float32],
    scores: Sequence[float],
    seed: int,
) -> tuple[float, tuple[float, float]]:
    """Return the gain one may expect on other pairs, and its 95% range over splits.

    The best of many on the pairs that also score it flatters. Here the best is chosen on a random
    half of the pairs and its gain is taken on the other half, again and again.

    Args:
        candidates: similarities, shape (candidates, n).
        baseline: similarities without demonstration, shape (n,).
        scores: gold scores, length n.
        seed: of the splits.
    """
    gold = np.asarray(scores)
    generator = np.random.default_rng(seed)
    gains = np.empty(SPLITS)
    for split in range(SPLITS):
        order = generator.permutation(len(gold))
        choose, check = order[: len(gold) // 2], order[len(gold) // 2 :]
        chosen = candidates[int(np.argmax(_correlation(candidates[:, choose], gold[choose])))]
        ours = _correlation(chosen[check], gold[check])
        gains[split] = 100 * (ours - _correlation(baseline[check], gold[check]))
    low, high = np.nanpercentile(gains, [2.5, 97.5])
    return round(float(np.nanmean(gains)), 3), (round(float(low), 3), round(float(high), 3))


def _correlation(first: NDArray[Any], second: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Return Spearman's correlation along `axis`, broadcasting: Pearson's of the ranks."""
    ranks = [stats.rankdata(values, axis=axis) for values in (first, second)]
    centred = [values - values.mean(axis=axis, keepdims=True) for values in ranks]
    product = (centred[0] * centred[1]).sum(axis=axis)
    norms = [np.sqrt((values**2).sum(axis=axis)) for values in centred]
    return np.asarray(product / (norms[0] * norms[1]))
