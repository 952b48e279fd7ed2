"""Checks of embeddings before they are used: their shape, and that every value is finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from demosearch.errors import NotFiniteError, UserError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def checked(
    values: ArrayLike, texts: Sequence[str], precision: str, where: str = "the output"
) -> NDArray[np.float32]:
    """Return the embeddings of texts as float32 (texts, width).

    Args:
        values: an array (texts, width), or what can be converted to one.
        texts: the texts.
        precision: of the weights, for the message.
        where: the layer, or another part of the model, for the message.

    Raises:
        NotFiniteError: a value is not a number, infinite, or too large for float32; names the first such
            text and its row.
        UserError: the values are not an array of this shape.
    """
    try:
        if np.iscomplexobj(values):
            raise TypeError("these are complex numbers")
        with np.errstate(over="ignore"):
            rows = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        # RuntimeError: a tensor that requires a gradient.
        raise UserError(
            f"embeddings must be an array of numbers but got {type(values).__name__}: {error}"
        ) from error
    if rows.ndim != 2 or len(rows) != len(texts):
        raise UserError(
            f"embeddings must have one row for each of {len(texts)} texts but got shape {rows.shape}"
        )
    is_finite = np.isfinite(rows).all(axis=1)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise NotFiniteError(texts[row], where, precision, row)
    return rows
