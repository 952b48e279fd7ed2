"""Fitting post-processing on other texts, without searching again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.embedder import Embedder
from demosearch.errors import UserError
from demosearch.postprocess import (
    EXPONENT,
    RIDGE,
    Kind,
    Postprocess,
    Unlabeled,
    Whitening,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def adapt(
    file: DemonstrationsFile,
    embedder: Embedder,
    unlabeled: Unlabeled,
    *,
    exponent: float | None = None,
    ridge: float | None = None,
    show_progress: bool = False,
) -> DemonstrationsFile:
    """Return a demonstrations file whose whitening is fitted on unlabeled texts.

    Prompts and layers stay the same. The scores in the file remain those of the search.

    Args:
        file: the result of a search, with or without post-processing.
        embedder: the model with the prompts of the file.
        unlabeled: texts like those that will be embedded; at least three for each dimension.
        exponent: of the whitening; None means the file's, or 0.25.
        ridge: of the whitening; None means the file's, or 0.01.
        show_progress: show a progress bar on standard error.

    Raises:
        UserError: the exponent or the ridge is out of range.
    """
    before = file.postprocess
    if before is not None and before.kind is Kind.WHITEN:
        exponent = before.exponent if exponent is None else exponent
        ridge = before.ridge if ridge is None else ridge
    exponent = EXPONENT if exponent is None else exponent
    ridge = RIDGE if ridge is None else ridge
    if not 0 <= exponent <= 1:
        raise UserError(f"exponent must be from 0 to 1 but got {exponent:g}")
    if not 0 <= ridge < float("inf"):
        raise UserError(f"ridge must be at least 0 but got {ridge:g}")
    states: NDArray[np.float32] = embedder.encode(
        unlabeled.texts, show_progress_bar=show_progress, postprocess=False
    )
    unlabeled.warn_if_few(states.shape[1])
    fitted = Whitening(states, unlabeled).map(exponent, ridge)
    record = fitted.record.model_copy(update={"refitted": True})
    return file.with_postprocess(Postprocess(record, fitted.mean, fitted.matrix, fitted.texts))
