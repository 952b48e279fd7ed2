"""Score against tokens: which prompts are worth their length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fronts(scores: Sequence[float], costs: Sequence[float]) -> NDArray[np.intp]:
    """Return the front each one is in: 0 where no other is both as good and as cheap, and so on.

    The next front is what nothing is better than once those before it are gone. Of equals the first
    one counts.

    Args:
        scores: more is better; no nan.
        costs: less is better.

    >>> fronts([80.0, 79.0, 81.0, 70.0], [20, 25, 30, 0]).tolist()
    [0, 1, 0, 0]
    """
    found = np.empty(len(scores), dtype=np.intp)
    left = np.lexsort((-np.asarray(scores, dtype=float), np.asarray(costs))).tolist()
    front = 0
    while left:
        rest = []
        best = None
        for place in left:
            if best is None or scores[place] > best:
                found[place], best = front, scores[place]
            else:
                rest.append(place)
        left = rest
        front += 1
    return found
