"""States of texts that a stage of a search computes, kept in files until the stage is finished."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch._common.files import atomic_write
from demosearch.prompt import Prompt
from demosearch.selection.pair_encoder import PairEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StoredStates:
    """States of texts under one prompt.

    Attributes:
        by_layer: float32 (texts, width) for each layer.
        seconds: time that computing them took.
    """

    by_layer: list[NDArray[np.float32]]
    seconds: float


class StatesFolder:
    """Computes states, and keeps them so that a killed search loses one prompt at most.

    Args:
        pair_encoder: the encoder and the pairs.
        folder: the folder of the files.
    """

    def __init__(self, pair_encoder: PairEncoder, folder: Path) -> None:
        self._pair_encoder = pair_encoder
        self._folder = folder
        self._paths: list[Path] = []

    def states(
        self, texts: Sequence[str], prompt: Prompt, layers: Sequence[int | None]
    ) -> StoredStates:
        """Return the states of texts under a prompt at some layers, from one pass or from a file.

        Raises:
            UserError: the prompt cannot be used.
        """
        key = self._pair_encoder.cache_key([prompt], *map(str, layers), *texts)
        path = self._folder / f"{key}.states.npz"
        self._paths.append(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                rows = [file[f"layer{index}"] for index in range(len(layers))]
                return StoredStates(rows, float(file["seconds"]))
        except FileNotFoundError:
            # Not computed yet, or another worker in this folder has finished the stage.
            pass
        started = time.monotonic()
        rows = self._pair_encoder.states(texts, prompt, layers)
        seconds = time.monotonic() - started
        arrays: dict[str, Any] = {f"layer{index}": states for index, states in enumerate(rows)}
        with atomic_write(path, "wb") as file:
            np.savez(file, **arrays, seconds=seconds)
        return StoredStates(rows, seconds)

    def clear(self) -> None:
        """Delete the files of the states that were asked for."""
        for path in self._paths:
            path.unlink(missing_ok=True)
