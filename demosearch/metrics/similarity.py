"""Cosine similarities, and the means of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from demosearch._common.vectors import normalized

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Weights between this number and its inverse are multiplied in float32 as they are.
_SMALLEST = 1e-30


def cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the row-wise cosine similarity of two arrays of shape (n, width), as (n,).

    A vector of zeros has similarity 0 with every vector, as in SentEval. The similarity of a vector
    that is not finite is nan.
    """
    with np.errstate(invalid="ignore"):
        product = np.einsum("ij,ij->i", first, second, dtype=np.float64)
        norms = np.linalg.norm(first.astype(np.float64), axis=1) * np.linalg.norm(
            second.astype(np.float64), axis=1
        )
    return quotient(product, norms)


def quotient(products: NDArray[np.float64], norms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return inner products divided by the products of the lengths, 0 where a length is 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(products / np.where(norms == 0, 1, norms), dtype=np.float32)


def zero_pairs(first: NDArray[np.float32], second: NDArray[np.float32]) -> int:
    """Return the number of rows in which one of two arrays (n, width) is zero."""
    return int((~first.any(axis=1) | ~second.any(axis=1)).sum())


def averaged(
    states: Sequence[NDArray[np.float32]], weights: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """Return the embeddings under one prompt unchanged, or the mean of several normalized ones.

    Args:
        states: of each prompt, float32 (n, width).
        weights: of each prompt; None means equal weights.

    Returns:
        float32 (n, width).
    """
    if len(states) == 1:
        return states[0]
    shares = [1.0] * len(states) if weights is None else list(weights)
    if not _SMALLEST < min(shares) <= max(shares) < 1 / _SMALLEST:
        # Only their ratio counts, and float32 does not hold such numbers.
        shares = [share / max(shares) for share in shares]
    weighted = [share * normalized(rows) for share, rows in zip(shares, states, strict=True)]
    return np.asarray(sum(weighted) / sum(shares), dtype=np.float32)
