"""Which dev pairs are looked at first, how many a rung has, and how many candidates go on.

Every rung's pairs are among the next rung's, so what was computed is never computed again, and every
rung is spread evenly over the gold scores and over what the prompt without demonstration makes of the
pairs, so that few pairs are as good a sample of all of them as can be had.

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
# Where several sets share a rung.
FEWEST_OF_A_SET = 15
GROWTH = 1.4
# A rung that is nearly the whole set would cost a rung and save nothing.
WIDEST_RUNG = 0.8
# The share of the candidates that goes on from the first rung, and from every later one.
FIRST_CUT = 0.47
LATER_CUT = 0.62
# Cells a side that the pairs' ranks are sorted into; a power of two.
HILBERT_SIDE = 64
# Below this many finalists, cutting saves little and risks the best one.
FEWEST_FINALISTS = 4


def stratified_order(scores: Sequence[float], seed: int) -> NDArray[np.intp]:
    """Return an order of the pairs of which every beginning is spread evenly over the scores.

    The pairs are sorted by score (ties in random order) and visited in bit-reversed order.

    Args:
        scores: gold scores, one a pair.
        seed: decides ties and the mask.

    Returns:
        All indices 0..len(scores)-1, each once.
    """
    generator = np.random.default_rng(seed)
    by_score = np.lexsort((generator.random(len(scores)), np.asarray(scores, dtype=float)))
    return by_score[_bit_reversed(len(scores), generator)]


def spread_order(
    scores: Sequence[float], similarities: NDArray[np.float32], seed: int
) -> NDArray[np.intp]:
    """Return an order of the pairs of which every beginning is spread over scores and similarities.

    Each pair is a point: the rank of its score, the rank of its similarity. The points are lined up
    along a Hilbert curve, on which neighbours are alike in both, and visited in bit-reversed order.

    Args:
        scores: gold scores, one a pair.
        similarities: of the same pairs under a prompt that is known, shape (pairs,).
        seed: decides ties and the mask.

    Returns:
        All indices 0..len(scores)-1, each once.
    """
    generator = np.random.default_rng(seed)
    chance = generator.random(len(scores))
    keys = (np.asarray(scores, dtype=float), np.asarray(similarities, dtype=float))
    ranks = (np.argsort(np.lexsort((chance, key))) for key in keys)
    columns = (rank * HILBERT_SIDE // len(scores) for rank in ranks)
    along = np.lexsort((chance, hilbert_place(*columns)))
    return along[_bit_reversed(len(scores), generator)]


def hilbert_place(x: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how far along a Hilbert curve the cells of a square lie; its side is HILBERT_SIDE.

    >>> corner = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
    >>> hilbert_place(*corner).tolist()
    [0, 3, 2, 1]
    """
    place = np.zeros_like(x)
    step = HILBERT_SIDE // 2
    while step:
        right, upper = (x & step) > 0, (y & step) > 0
        place += step * step * ((3 * right) ^ upper)
        # A lower quadrant's part of the curve is turned, so that it ends where the next begins.
        turned = right & ~upper
        x, y = (np.where(turned, HILBERT_SIDE - 1 - each, each) for each in (x, y))
        x, y = np.where(upper, x, y), np.where(upper, y, x)
        step //= 2
    return place


def _bit_reversed(number: int, generator: np.random.Generator) -> list[int]:
    """Return 0..number-1 in bit-reversed order, scrambled by a random mask.

    This is a van der Corput sequence without repetition.
    """
    bits = max(1, math.ceil(math.log2(number)))
    mask = int(generator.integers(1 << bits))
    places = (int(f"{step ^ mask:0{bits}b}"[::-1], 2) for step in range(1 << bits))
    return [place for place in places if place < number]


def rung_sizes(pairs: int, sets: int = 1) -> list[int]:
    """Return how many pairs each rung has; the last one has all.

    Args:
        pairs: how many there are.
        sets: into how many sets they fall; each has to show on every rung.

    >>> rung_sizes(1500)
    [50, 70, 98, 137, 192, 269, 376, 527, 738, 1033, 1500]
    >>> rung_sizes(72)
    [50, 72]
    >>> rung_sizes(40)
    [40]
    """
    sizes = []
    size = float(max(FIRST_RUNG, FEWEST_OF_A_SET * sets))
    while round(size) <= WIDEST_RUNG * pairs:
        sizes.append(round(size))
        size *= GROWTH
    return [*sizes, pairs]


def survivors(candidates: int, rung: int) -> int:
    """Return how many candidates of so many at the start go on from a rung; the first is 0.

    At least `FEWEST_FINALISTS` do.

    >>> [survivors(300, rung) for rung in range(9)]
    [141, 88, 55, 34, 21, 13, 9, 5, 4]
    """
    left = math.ceil(candidates * FIRST_CUT * LATER_CUT**rung)
    return min(candidates, max(left, FEWEST_FINALISTS))
