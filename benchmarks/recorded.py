"""Recorded cosines of candidates, written by `record.py`, for benchmarks that need no model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demosearch._common.files import atomic_write
from demosearch.datasets import Pairs, Split, read_pairs

# What is known of a candidate before any search.
FEATURES = ("word_log_probability", "zipf", "words", "word_in_sentence", "agreement")


@dataclass(frozen=True)
class Recorded:
    """What the candidates make of all dev pairs.

    Attributes:
        dev_sha256: of the dev pairs; their sentences and gold scores are read from where they are.
        layers: indices into `hidden_states`, (layers,).
        baseline: cosines without demonstration, float16 (layers, pairs).
        cosines: float16 (candidates, layers, pairs).
        ids: the candidates' ids, (candidates,).
        sources: the candidates' sources, (candidates,).
        features: float (candidates, len(FEATURES)); nan where not known.
        seconds: that recording took, (candidates,).
    """

    dev_sha256: str
    layers: NDArray[np.int64]
    baseline: NDArray[np.float16]
    cosines: NDArray[np.float16]
    ids: NDArray[np.str_]
    sources: NDArray[np.str_]
    features: NDArray[np.float64]
    seconds: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write everything to one compressed file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            np.savez_compressed(
                file, **{each.name: getattr(self, each.name) for each in fields(self)}
            )

    @classmethod
    def load(cls, path: Path) -> Recorded:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            found = {each.name: file[each.name] for each in fields(cls)}
        found["dev_sha256"] = str(found["dev_sha256"])
        return cls(**found)

    def pairs(self, dev: str, data: str | None) -> Pairs:
        """Return the dev pairs these cosines are of.

        Raises:
            SystemExit: the pairs found are others.
        """
        pairs = read_pairs(dev, Split.DEV, data)
        if pairs.sha256 != self.dev_sha256:
            raise SystemExit(f"{dev} holds other pairs than those recorded")
        return pairs
