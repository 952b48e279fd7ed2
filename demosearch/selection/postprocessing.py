"""Choosing post-processing: which map of which embeddings agrees best with the development pairs.

Whitening changes which layer is best: without it an inner layer, with it usually the last one. So the maps
are tried on the chosen prompts and on the leading finalists, each at its best layer and at the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch._common.files import atomic_write
from demosearch._common.progress import Bar
from demosearch.errors import NotFiniteError, UserError
from demosearch.metrics.similarity import averaged, cosine
from demosearch.postprocess import (
    RATIOS,
    WHITENINGS,
    EmbFilter,
    Kind,
    Postprocess,
    PostprocessRecord,
    Unlabeled,
    Whitening,
)
from demosearch.prompt import Prompt
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.states import StatesFolder, StoredStates
from demosearch.selection.steps import System

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Number of leading finalists whose embeddings are mapped.
LEADERS = 4


@dataclass(frozen=True, slots=True)
class Postprocessed:
    """The post-processed systems that were compared.

    Attributes:
        best: the best one.
        similarities: of all of them, float32 (systems, pairs).
        index: of the best one.
        seconds: time that encoding took.
    """

    best: System
    similarities: NDArray[np.float32]
    index: int
    seconds: float


class PostprocessChoice:
    """The systems to try, and the texts to encode for them.

    Args:
        pair_encoder: the pairs and the encoder.
        chosen: the chosen prompts.
        others: leading finalists, each at its best layer.
        layers: indices of the layers that the search may choose.
        kinds: the kinds of maps.
        unlabeled: the texts for whitening.
    """

    def __init__(
        self,
        pair_encoder: PairEncoder,
        chosen: tuple[Prompt, ...],
        others: Sequence[Prompt],
        layers: Sequence[int],
        kinds: Collection[Kind],
        unlabeled: Unlabeled,
    ) -> None:
        self._pair_encoder = pair_encoder
        self._kinds = kinds
        self._unlabeled = unlabeled
        self._last = pair_encoder.encoder.resolve_layer(None)
        groups = [chosen, *((prompt,) for prompt in others if len(chosen) == 1)]
        # Each group at its best layers and, if the search may choose it, at the last one.
        at_last = [
            tuple(replace(prompt, layer=self._last) for prompt in group)
            for group in groups
            if self._last in layers
        ]
        self._groups = list(dict.fromkeys([*groups, *at_last]))
        dev = pair_encoder.pairs.sentences()
        whitens = Kind.WHITEN in kinds
        self._texts = list(dict.fromkeys([*dev, *(unlabeled.texts if whitens else ())]))
        self._layers_of = pair_encoder.layers_of(
            [prompt for group in self._groups for prompt in group]
        )

    @property
    def sentences(self) -> int:
        """The number of sentences that are encoded."""
        return len(self._texts) * len(self._layers_of)

    @property
    def prompts(self) -> int:
        """The number of prompts that are encoded."""
        return len(self._layers_of)

    def warn_if_few_texts(self) -> None:
        """Log a warning if there are too few texts for whitening."""
        if Kind.WHITEN in self._kinds:
            prompts = [prompt for group in self._groups for prompt in group]
            width = self._pair_encoder.encoder.width
            self._unlabeled.warn_if_few(max(width(prompt.layer) for prompt in prompts))

    def run(self, folder: Path, progress: Bar) -> Postprocessed:
        """Encode, fit the maps and compare them; the folder keeps the result.

        Raises:
            UserError: a prompt cannot be used, or the encoder has no unembedding matrix.
        """
        kinds = ",".join(sorted(self._kinds))
        prompts = [prompt for group in self._groups for prompt in group]
        sizes = [str(len(group)) for group in self._groups]
        key = self._pair_encoder.cache_key(prompts, kinds, *sizes, *self._unlabeled.texts)
        path = folder / "postprocess" / f"{key}.npz"
        if not path.exists():
            self._compute(path, progress)
        return self._read(path)

    def _compute(self, path: Path, progress: Bar) -> None:
        states_folder = StatesFolder(self._pair_encoder, path.parent)
        states: dict[Prompt, StoredStates] = {}
        for prompt, layers in self._layers_of.items():
            try:
                states[prompt] = states_folder.states(self._texts, prompt, layers)
            except NotFiniteError as error:
                if error.location:
                    raise
                row = list(self._unlabeled.texts).index(error.text)
                raise error.at(f"{self._unlabeled.name}, text {row + 1}") from None
            progress.advance(len(self._pair_encoder.pairs))
        rows = {text: row for row, text in enumerate(self._texts)}
        unlabeled = [rows[text] for text in self._unlabeled.texts if text in rows]
        first, second = self._pair_encoder.pairs.sentence_rows(self._texts)
        similarities: list[NDArray[np.float32]] = []
        tried: list[tuple[int, Postprocess]] = []
        for number, group in enumerate(self._groups):
            embeddings = averaged([self._states(states, prompt) for prompt in group])
            for postprocess in self._maps(group, embeddings, unlabeled):
                mapped = postprocess.apply(embeddings)
                similarities.append(cosine(mapped[first], mapped[second]))
                tried.append((number, postprocess))
        scores = self._pair_encoder.objective.score(np.stack(similarities))
        index = int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))
        number, postprocess = tried[index]
        arrays: dict[str, Any] = {"mean": postprocess.mean, "matrix": postprocess.matrix}
        with atomic_write(path, "wb") as file:
            np.savez(
                file,
                similarities=np.stack(similarities),
                index=index,
                group=number,
                record=postprocess.record.model_dump_json(),
                seconds=sum(stored.seconds for stored in states.values()),
                **{name: array for name, array in arrays.items() if array is not None},
            )
        states_folder.clear()

    def _maps(
        self,
        group: tuple[Prompt, ...],
        embeddings: NDArray[np.float32],
        unlabeled: Sequence[int],
    ) -> Iterator[Postprocess]:
        if Kind.WHITEN in self._kinds:
            whitening = Whitening(embeddings[unlabeled], self._unlabeled)
            yield from (whitening.map(exponent, ridge) for exponent, ridge in WHITENINGS)
        # At an inner layer, the unembedding says nothing about the states.
        if Kind.EMBFILTER in self._kinds and {self._layer(prompt) for prompt in group} == {
            self._last
        }:
            yield from self._embfilters

    @cached_property
    def _embfilters(self) -> list[Postprocess]:
        """The projections, which are the same for all prompts."""
        read = getattr(self._pair_encoder.encoder, "unembedding", None)
        if read is None:
            raise UserError(
                "embfilter requires an encoder with a method `unembedding`; leave it out of"
                " postprocess"
            )
        embfilter = EmbFilter(read())
        return [embfilter.map(ratio) for ratio in RATIOS]

    def _states(self, states: dict[Prompt, StoredStates], prompt: Prompt) -> NDArray[np.float32]:
        at_no_layer = replace(prompt, layer=None)
        index = self._layers_of[at_no_layer].index(self._layer(prompt))
        return states[at_no_layer].by_layer[index]

    def _layer(self, prompt: Prompt) -> int:
        return self._pair_encoder.encoder.resolve_layer(prompt.layer)

    def _read(self, path: Path) -> Postprocessed:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        record = PostprocessRecord.model_validate_json(str(arrays["record"]))
        texts = self._unlabeled.hashes if record.kind == Kind.WHITEN else None
        postprocess = Postprocess(record, arrays.get("mean"), arrays.get("matrix"), texts)
        return Postprocessed(
            System(self._groups[int(arrays["group"])], postprocess),
            arrays["similarities"],
            int(arrays["index"]),
            float(arrays["seconds"]),
        )
