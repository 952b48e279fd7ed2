"""Uncertainty: bootstrap over pairs, and choices repeated on random halves of the pairs."""

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

# From values of the pairs (..., n) and gold scores (..., n) to scores (...).
Statistic = Callable[["NDArray[Any]", "NDArray[Any]"], "NDArray[np.float64]"]


def bootstrap_differences(
    system: NDArray[Any],
    others: Sequence[NDArray[Any]],
    gold: NDArray[Any] | None,
    score: Statistic,
    seed: int | Sequence[int],
    resamples: int | None = None,
) -> NDArray[np.float64]:
    """Return the differences between a system's score and others' scores on resampled pairs.

    This is the paired bootstrap: each resample scores all systems on the same pairs. Calls with the same
    seed, number of pairs and number of resamples draw the same pairs. `interval` returns the 95%
    interval of the differences.

    Args:
        system: similarities, or another value of each pair or example, shape (n,), n >= 2.
        others: the same of each other system, each of shape (n,).
        gold: gold scores, shape (n,); None means zeros, for a score that does not use them.
        score: returns the scores (systems, ...) of values (systems, ..., n) and gold scores (..., n).
        seed: random seed of the resampling.
        resamples: number of resamples; None means `RESAMPLES`.

    Returns:
        Shape (len(others), resamples); nan where a resample has no score, as its gold scores are
        all equal.
    """

    def differences(*samples: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        *systems, resampled_gold = (np.moveaxis(sample, axis, -1) for sample in samples)
        first, *rest = score(np.stack(systems), resampled_gold)
        return np.stack([first - other for other in rest])

    number = RESAMPLES if resamples is None else resamples
    gold = np.zeros(len(system)) if gold is None else gold
    with warnings.catch_warnings():
        # A resample whose gold scores are all equal has no rank correlation, and is left out.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (system, *others, gold),
            differences,
            paired=True,
            vectorized=True,
            n_resamples=number,
            batch=100,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return np.reshape(result.bootstrap_distribution, (len(others), number))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the bounds of the middle 95% of values; nan are left out."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    # Six digits, because a metric of the user's may not be x 100.
    return round(float(low), 6), round(float(high), 6)


def split_gains(
    gain: Callable[[NDArray[np.intp], NDArray[np.intp]], float],
    sets: Sequence[NDArray[np.intp]],
    seed: int,
) -> NDArray[np.float64]:
    """Return a gain on random halves of the pairs, `SPLITS` times.

    Args:
        gain: of the indices of the pairs that choose, and of those that measure the gain.
        sets: indices of each set's pairs; each set is halved separately.
        seed: random seed of the halves.
    """
    generator = np.random.default_rng(seed)
    gains = np.empty(SPLITS)
    for split in range(SPLITS):
        orders = [generator.permutation(rows) for rows in sets]
        choosing = np.concatenate([order[: len(order) // 2] for order in orders])
        measuring = np.concatenate([order[len(order) // 2 :] for order in orders])
        gains[split] = gain(choosing, measuring)
    return gains
