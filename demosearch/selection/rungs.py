"""Which dev pairs are looked at first, and how many a rung has.

Every rung's pairs are among the next rung's, so what was computed is never computed again, and every
rung is spread evenly over the gold scores, which halves the error of a random subset of its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_FIRST_RUNG = 100
SMALLEST_FIRST_RUNG = 50
# Below this many finalists, halving saves little and risks the best one.
FEWEST_FINALISTS = 4


def stratified_order(scores: Sequence[float], seed: int) -> NDArray[np.intp]:
    """Return an order of the pairs of which every beginning is spread evenly over the scores.

    The pairs are sorted by score (ties in random order) and visited in bit-reversed order of their
    ranks, scrambled by a random mask: a van der Corput sequence without repetition.

    Args:
        scores: gold scores, one a pair.
        seed: decides ties and the mask.

    Returns:
        All indices 0..len(scores)-1, each once.
    """
    generator = np.random.default_rng(seed)
    by_score = np.lexsort((generator.random(len(scores)), np.asarray(scores, dtype=float)))
    bits = max(1, math.ceil(math.log2(len(scores))))
    mask = int(generator.integers(1 << bits))
    ranks = (int(f"{step ^ mask:0{bits}b}"[::-1], 2) for step in range(1 << bits))
    return by_score[[rank for rank in ranks if rank < len(scores)]]


def rung_sizes(pairs: int) -> list[int]:
    """Return how many pairs each rung has; the last one has all.

    >>> rung_sizes(1500)
    [100, 200, 400, 800, 1500]
    >>> rung_sizes(360)
    [60, 120, 240, 360]
    >>> rung_sizes(40)
    [40]
    """
    size = min(LARGEST_FIRST_RUNG, max(SMALLEST_FIRST_RUNG, pairs // 6))
    sizes = []
    # A rung that is nearly the whole set would cost a rung and save nothing.
    while size * 4 <= pairs * 3:
        sizes.append(size)
        size *= 2
    return [*sizes, pairs]


def survivors(candidates: int) -> int:
    """Return how many candidates go on to the next rung."""
    return max(math.ceil(candidates / 2), min(candidates, FEWEST_FINALISTS))
