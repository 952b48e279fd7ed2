"""Several prompts at once: the mean of the normalised embeddings under each of them.

The members are chosen greedily among the leading prompts: the one that lifts the dev score most joins
next. How a set of prompts scores follows from the inner products between its members' embeddings, so
each prompt's embeddings are made once, whatever sets are tried.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demosearch._common.files import atomic_write
from demosearch._common.progress import Bar
from demosearch.metrics.similarity import normalised
from demosearch.prompt import Prompt
from demosearch.selection.objective import Objective
from demosearch.selection.pair_encoder import PairEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

# So many leading prompts are looked at, or twice as many as may be averaged.
POOL = 8


@dataclass(frozen=True, slots=True)
class Products:
    """Inner products of normalised embeddings, each float32 (prompts, prompts, pairs).

    Attributes:
        between: of a pair's first sentence under one prompt and its second under another.
        first: of the first sentences under two prompts.
        second: of the second sentences under two prompts.
    """

    between: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.between)

    def similarities(self, members: Sequence[int]) -> NDArray[np.float32]:
        """Return the cosine similarities under the mean over some prompts, float32 (pairs,)."""
        chosen = np.ix_(members, members)
        between, first, second = (
            each[chosen].sum(axis=(0, 1), dtype=np.float64)
            for each in (self.between, self.first, self.second)
        )
        return np.asarray(between / np.sqrt(first * second), dtype=np.float32)


def products(
    pair_encoder: PairEncoder, prompts: Sequence[Prompt], folder: Path, progress: Bar
) -> tuple[Products, float]:
    """Return what ensembles of some prompts are made of, and the seconds that encoding took.

    A prompt's embeddings are kept in the folder until all are there, and the products for good, so
    that a kill costs one prompt at most.

    Args:
        pair_encoder: the pairs and the encoder.
        prompts: each at its layer.
        folder: of the search.
        progress: moves on by the pairs of every prompt.

    Raises:
        UserError: a prompt cannot be used.
    """
    kept = folder / "ensemble" / f"{pair_encoder.key(prompts)}.npz"
    if not kept.exists():
        states = [kept.with_name(f"{pair_encoder.key([each])}.states.npz") for each in prompts]
        for path, prompt in zip(states, prompts, strict=True):
            if not path.exists():
                _encode(pair_encoder, prompt, path)
            progress.advance(len(pair_encoder.pairs))
        try:
            _multiply(pair_encoder, states, kept)
        except FileNotFoundError:
            # Another worker in this folder was done first.
            if not kept.exists():
                raise
        for path in states:
            path.unlink(missing_ok=True)
    with np.load(kept, allow_pickle=False) as file:
        found = Products(file["between"], file["first"], file["second"])
        return found, float(file["seconds"])


def greedy(
    found: Products, objective: Objective, most: int, rows: NDArray[np.intp] | None = None
) -> list[list[int]]:
    """Return the growing sets of prompts: the first alone, then with whichever helps it most, ...

    Args:
        found: what the prompts make of the pairs; the first prompt is the one to start from.
        objective: scores the pairs.
        most: prompts in the largest set.
        rows: choose on these pairs only; the start is then the best prompt on them.
    """
    chosen = slice(None) if rows is None else rows

    def score(members: list[int]) -> float:
        return float(objective.score(found.similarities(members)[chosen], rows))

    members = [0] if rows is None else [max(range(len(found)), key=lambda one: score([one]))]
    sets = [members]
    while len(members) < min(most, len(found)):
        left = [one for one in range(len(found)) if one not in members]
        members = max(([*members, one] for one in left), key=score)
        sets.append(members)
    return sets


def _encode(pair_encoder: PairEncoder, prompt: Prompt, path: Path) -> None:
    started = time.monotonic()
    states = pair_encoder.encoder.encode(pair_encoder.pairs.sentences(), prompt)
    with atomic_write(path, "wb") as file:
        np.savez(
            file,
            states=normalised(states),
            seconds=time.monotonic() - started,
        )


def _multiply(pair_encoder: PairEncoder, states: Sequence[Path], path: Path) -> None:
    sides = pair_encoder.pairs.sentence_rows(pair_encoder.pairs.sentences())
    loaded = [np.load(each, allow_pickle=False) for each in states]
    # (prompts, pairs, width) of either side.
    ones, twos = (np.stack([each["states"][rows] for each in loaded]) for rows in sides)
    found = [
        np.einsum("apw,bpw->abp", one, two, optimize=True)
        for one, two in ((ones, twos), (ones, ones), (twos, twos))
    ]
    with atomic_write(path, "wb") as file:
        np.savez(
            file,
            between=found[0],
            first=found[1],
            second=found[2],
            seconds=sum(float(each["seconds"]) for each in loaded),
        )
