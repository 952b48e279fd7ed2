"""Which dev pairs are looked at first, how many a rung has, and how many candidates go on.

Every rung's pairs are among the next rung's, so what was computed is never computed again, and every
rung is spread evenly over the gold scores, which halves the error of a random subset of its size.

The figures come from replaying searches on recorded similarities (`benchmarks/race.py`): many small
steps with a hard first cut cost less than halving at doubled sizes, and lose less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_RUNG = 50
GROWTH = 1.4
# A rung that is nearly the whole set would cost a rung and save nothing.
WIDEST_RUNG = 0.8
# The share of the candidates that goes on from the first rung, and from every later one.
FIRST_CUT = 0.47
LATER_CUT = 0.62
# Below this many finalists, cutting saves little and risks the best one.
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
    [50, 70, 98, 137, 192, 269, 376, 527, 738, 1033, 1500]
    >>> rung_sizes(72)
    [50, 72]
    >>> rung_sizes(40)
    [40]
    """
    sizes = []
    size = float(FIRST_RUNG)
    while round(size) <= WIDEST_RUNG * pairs:
        sizes.append(round(size))
        size *= GROWTH
    return [*sizes, pairs]


def survivors(candidates: int, rung: int) -> int:
    """Return how many candidates of so many at the start go on from a rung; the first is 0.

    >>> [survivors(300, rung) for rung in range(9)]
    [141, 88, 55, 34, 21, 13, 9, 5, 4]
    """
    left = math.ceil(candidates * FIRST_CUT * LATER_CUT**rung)
    return min(candidates, max(left, FEWEST_FINALISTS))
