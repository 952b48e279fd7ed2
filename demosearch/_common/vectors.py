"""Lengths of vectors: rows of length 1, and rows of zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The squares of shorter rows lose digits in float32.
_SHORTEST = 1e-12
# A warning with the number of rows of zeros, the number of rows, and the first row of zeros.
ZEROS_STAY = (
    "%d of %d embeddings are zero and stay zero, because they have no direction; the first one is in row"
    " %d"
)


def normalized(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of an array (n, width) scaled to length 1; a row of zeros stays unchanged."""
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    result = np.asarray(rows / np.maximum(lengths, _SHORTEST), dtype=np.float32)
    # The squares of these rows are too small or too large for the type of the array.
    extreme = ((lengths < _SHORTEST) | np.isinf(lengths))[:, 0] & rows.any(axis=1)
    if extreme.any():
        wide = rows[extreme].astype(np.float64)
        wide /= np.abs(wide).max(axis=1, keepdims=True)
        result[extreme] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return result


def zero_rows(rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the indices of the rows of an array (n, width) that are zero."""
    return np.flatnonzero(~rows.any(axis=1))
