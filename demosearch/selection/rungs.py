"""The rungs of a race: their pairs, their sizes, and how many configurations continue.

The pairs of a rung are among the pairs of the next one, so nothing is computed twice. Every rung is spread
evenly over the gold scores and over the baseline's similarities, so that few pairs represent all pairs.

The constants come from replaying searches on recorded similarities (`benchmarks/race.py`): many small
steps with a strict first cut cost less than halving at doubled sizes, and lose less. On top of the cuts, a
configuration is dropped if several others are significantly better, as in CAPO (arXiv 2504.16005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_RUNG = 40
# With more candidates the best ones are closer together, and most of the cost is that of the first rung.
MANY_CANDIDATES = 600
FIRST_RUNG_OF_MANY = 30
# Minimum number of pairs of each set on a rung.
MIN_PAIRS_OF_A_SET = 15
GROWTH = 1.3
# A rung with a larger share of all pairs would save nothing.
LARGEST_SHARE = 0.8
# The share of the configurations that continue from the first rung, and from every later rung.
FIRST_CUT = 0.38
LATER_CUT = 0.7
# Cells on a side of the square into which the ranks of the pairs are sorted; a power of two.
HILBERT_SIDE = 64
# With fewer finalists, cutting saves little and risks the best one.
MIN_FINALISTS = 4
# A configuration is dropped if at least MIN_FINALISTS others are better by this number of standard errors.
DROP_ERRORS = 1.5
# Index of the first rung on which configurations are dropped; on fewer pairs the errors themselves are
# uncertain.
FIRST_TEST = 1


def spread_order(
    scores: Sequence[float], similarities: NDArray[np.float32], seed: int
) -> NDArray[np.intp]:
    """Return an order of the pairs such that every prefix is spread over scores and similarities.

    Each pair is a point: the rank of its score and the rank of its similarity. The points are sorted
    along a Hilbert curve, on which neighbors are close in both, and visited in bit-reversed order.

    Args:
        scores: gold score of each pair.
        similarities: of the same pairs under the baseline, shape (pairs,).
        seed: random seed, for ties and for the mask.

    Returns:
        A permutation of 0..len(scores)-1.
    """
    generator = np.random.default_rng(seed)
    chance = generator.random(len(scores))
    keys = (np.asarray(scores, dtype=float), np.asarray(similarities, dtype=float))
    ranks = (np.argsort(np.lexsort((chance, key))) for key in keys)
    columns = (rank * HILBERT_SIDE // len(scores) for rank in ranks)
    along = np.lexsort((chance, hilbert_distance(*columns)))
    return along[_bit_reversed(len(scores), generator)]


def hilbert_distance(x: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the distance of cells along a Hilbert curve in a square with sides of HILBERT_SIDE cells.

    >>> corner = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
    >>> hilbert_distance(*corner).tolist()
    [0, 3, 2, 1]
    """
    distance = np.zeros_like(x)
    step = HILBERT_SIDE // 2
    while step:
        right, upper = (x & step) > 0, (y & step) > 0
        distance += step * step * ((3 * right) ^ upper)
        # The curve in a lower quadrant is turned, so that it ends where the next quadrant begins.
        turned = right & ~upper
        x, y = (np.where(turned, HILBERT_SIDE - 1 - axis, axis) for axis in (x, y))
        x, y = np.where(upper, x, y), np.where(upper, y, x)
        step //= 2
    return distance


def _bit_reversed(number: int, generator: np.random.Generator) -> list[int]:
    """Return 0..number-1 in bit-reversed order, scrambled by a random mask.

    This is a van der Corput sequence without repetition.
    """
    bits = max(1, math.ceil(math.log2(number)))
    mask = int(generator.integers(1 << bits))
    reversed_bits = (int(f"{step ^ mask:0{bits}b}"[::-1], 2) for step in range(1 << bits))
    return [index for index in reversed_bits if index < number]


def rung_sizes(pairs: int, sets: int = 1, candidates: int = 1) -> list[int]:
    """Return the number of pairs of each rung; the last one has all pairs.

    Args:
        pairs: number of pairs.
        sets: number of sets that the pairs come from; each of them is on every rung.
        candidates: number of configurations at the start.

    >>> rung_sizes(1500)
    [40, 52, 68, 88, 114, 149, 193, 251, 326, 424, 551, 717, 932, 1500]
    >>> rung_sizes(72)
    [40, 52, 72]
    >>> rung_sizes(30)
    [30]
    """
    sizes = []
    first = FIRST_RUNG if candidates < MANY_CANDIDATES else FIRST_RUNG_OF_MANY
    size = float(max(first, MIN_PAIRS_OF_A_SET * sets))
    while round(size) <= LARGEST_SHARE * pairs:
        sizes.append(round(size))
        size *= GROWTH
    return [*sizes, pairs]


def survivors(candidates: int, rung: int) -> int:
    """Return how many configurations continue at most from a rung; `MIN_FINALISTS` or more.

    Args:
        candidates: number of configurations at the start.
        rung: index of the rung.

    >>> [survivors(300, rung) for rung in range(12)]
    [114, 80, 56, 40, 28, 20, 14, 10, 7, 5, 4, 4]
    """
    left = math.ceil(candidates * FIRST_CUT * LATER_CUT**rung)
    return min(candidates, max(left, MIN_FINALISTS))


def planned_finalists(candidates: int, rungs: Sequence[int]) -> int:
    """Return how many configurations will be scored on all pairs at most."""
    if len(rungs) == 1:
        return candidates
    return survivors(candidates, len(rungs) - 2)


def planned_pairs(candidates: int, rungs: Sequence[int]) -> int:
    """Return how many pairs will be scored at most, including those of the baseline."""
    total, left = rungs[-1], candidates
    for rung, (before, size) in enumerate(pairwise([0, *rungs])):
        total += left * (size - before)
        left = survivors(candidates, rung)
    return total
