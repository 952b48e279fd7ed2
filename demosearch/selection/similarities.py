"""Similarities that were paid for, kept so that no kill and no later rung pays again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demosearch.files import atomic_write

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SimilarityStore:
    """One small file a candidate: the cosine of every dev pair, nan where it is not known yet."""

    def __init__(self, folder: Path, pairs: int) -> None:
        self._folder = folder
        self._pairs = pairs

    def load(self, candidate: str) -> NDArray[np.float32]:
        """Return the similarities of all pairs, float32 (pairs,); nan where unknown."""
        unknown = np.full(self._pairs, np.nan, dtype=np.float32)
        try:
            kept = np.load(self._path(candidate), allow_pickle=False)
        except (OSError, ValueError):
            return unknown
        return kept if kept.shape == unknown.shape else unknown

    def save(self, candidate: str, similarities: NDArray[np.float32]) -> None:
        """Keep the similarities of all pairs, atomically."""
        with atomic_write(self._path(candidate), "wb") as file:
            np.save(file, similarities, allow_pickle=False)

    def _path(self, candidate: str) -> Path:
        return self._folder / f"{candidate}.npy"
