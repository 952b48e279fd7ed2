"""Ensembles: the mean of the normalized embeddings under several prompts.

The members are chosen greedily among the leading prompts: the prompt that improves the score on the
development pairs most is added next. The score of an ensemble follows from the inner products between
its members' embeddings, so that each prompt's embeddings are computed once, however many ensembles are
compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demosearch._common.files import atomic_write
from demosearch._common.progress import Bar
from demosearch._common.vectors import normalized
from demosearch.metrics.similarity import quotient
from demosearch.prompt import Prompt
from demosearch.selection.objective import Objective
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.states import StatesFolder, StoredStates

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Minimum number of leading prompts to choose among; for large ensembles twice their size.
POOL = 8


@dataclass(frozen=True, slots=True)
class InnerProducts:
    """Inner products of normalized embeddings, each float32 (prompts, prompts, pairs).

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
        block = np.ix_(members, members)
        between, first, second = (
            products[block].sum(axis=(0, 1), dtype=np.float64)
            for products in (self.between, self.first, self.second)
        )
        return quotient(between, np.sqrt(first * second))


def inner_products(
    pair_encoder: PairEncoder, prompts: Sequence[Prompt], folder: Path, progress: Bar
) -> tuple[InnerProducts, float]:
    """Return the inner products between the embeddings under some prompts, and the seconds spent.

    The folder keeps each prompt's embeddings until all prompts are encoded, and then the inner products.
    A search that is killed loses one prompt at most.

    Args:
        pair_encoder: the pairs and the encoder.
        prompts: each at its layer.
        folder: the folder of the search.
        progress: advanced by the number of pairs for each prompt.

    Raises:
        UserError: a prompt cannot be used.
    """
    path = folder / "ensemble" / f"{pair_encoder.cache_key(prompts)}.npz"
    if not path.exists():
        states_folder = StatesFolder(pair_encoder, path.parent)
        states = []
        for prompt in prompts:
            texts = pair_encoder.pairs.sentences()
            states.append(states_folder.states(texts, prompt, [prompt.layer]))
            progress.advance(len(pair_encoder.pairs))
        _multiply(pair_encoder, states, path)
        states_folder.clear()
    with np.load(path, allow_pickle=False) as file:
        products = InnerProducts(file["between"], file["first"], file["second"])
        return products, float(file["seconds"])


def greedy(
    products: InnerProducts, objective: Objective, size: int, rows: NDArray[np.intp] | None = None
) -> list[list[int]]:
    """Return ensembles of growing size: each adds the prompt that improves the score most.

    Args:
        products: inner products of the prompts; the first ensemble is the first prompt alone.
        objective: scores the pairs.
        size: number of prompts in the largest ensemble.
        rows: indices of the only pairs to choose on; the first ensemble is then the prompt that is best
            on them.
    """
    chosen = slice(None) if rows is None else rows

    def score(members: list[int]) -> float:
        return float(objective.score(products.similarities(members)[chosen], rows))

    prompts = range(len(products))
    members = [0] if rows is None else [max(prompts, key=lambda prompt: score([prompt]))]
    ensembles = [members]
    while len(members) < min(size, len(products)):
        others = [prompt for prompt in prompts if prompt not in members]
        members = max(([*members, prompt] for prompt in others), key=score)
        ensembles.append(members)
    return ensembles


def _multiply(pair_encoder: PairEncoder, states: Sequence[StoredStates], path: Path) -> None:
    rows = pair_encoder.pairs.sentence_rows(pair_encoder.pairs.sentences())
    embeddings = [normalized(stored.by_layer[0]) for stored in states]
    # The embeddings of the pairs' first and second sentences, each (prompts, pairs, width).
    first, second = (np.stack([states[side] for states in embeddings]) for side in rows)
    products = [
        np.einsum("apw,bpw->abp", one, other, optimize=True)
        for one, other in ((first, second), (first, first), (second, second))
    ]
    with atomic_write(path, "wb") as file:
        np.savez(
            file,
            between=products[0],
            first=products[1],
            second=products[2],
            seconds=sum(stored.seconds for stored in states),
        )
