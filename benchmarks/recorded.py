"""Recorded cosines of candidates, which `record.py` writes, for benchmarks without a model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demosearch._common.files import atomic_write
from demosearch.datasets import Pairs, Split, read_pairs

# Quality scores, which are known before a search.
FEATURES = ("word_log_probability", "zipf", "words", "word_in_sentence", "agreement")


@dataclass(frozen=True)
class Recorded:
    """The cosines of the dev pairs for all candidates.

    Attributes:
        dev_sha256: hash of the dev pairs, whose sentences and gold scores are read from the data set.
        layers: indices into `hidden_states`, (layers,).
        baseline: cosines without demonstrations, float16 (layers, pairs).
        cosines: float16 (candidates, layers, pairs).
        ids: the candidates' ids, (candidates,).
        sources: the candidates' sources, (candidates,).
        features: float (candidates, len(FEATURES)); nan where unknown.
        seconds: duration of recording, (candidates,).
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
        """Write the record to a compressed file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            np.savez_compressed(
                file, **{field.name: getattr(self, field.name) for field in fields(self)}
            )

    @classmethod
    def load(cls, path: Path) -> Recorded:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            values = {field.name: file[field.name] for field in fields(cls)}
        values["dev_sha256"] = str(values["dev_sha256"])
        return cls(**values)

    def pairs(self, dev: str, data: str) -> Pairs:
        """Return the dev pairs of these cosines.

        Raises:
            SystemExit: the data set contains other pairs.
        """
        pairs = read_pairs(dev, Split.DEV, data)
        if pairs.sha256 != self.dev_sha256:
            raise SystemExit(f"{dev} must contain the recorded pairs but contains other pairs")
        return pairs
