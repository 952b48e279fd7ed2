"""Choosing post-processing: which map of which embeddings agrees best with the development pairs.

Whitening changes which prompt and which layer are best: without it an inner layer is, with it usually the last
one. So the maps are tried on the chosen prompt and on the leading prompts, each at its best layer and at the
last one. An ensemble is the mean of embeddings that is then mapped, and the map is fitted on such means.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
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

# Number of leading prompts whose embeddings are mapped, and of which an ensemble is made.
LEADERS = 8


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several systems that were compared.

    Attributes:
        prompts: of the best one.
        postprocess: of the best one.
        similarities: of all of them, float32 (systems, pairs).
        index: of the best one.
    """

    prompts: tuple[Prompt, ...]
    postprocess: Postprocess
    similarities: NDArray[np.float32]
    index: int

    @property
    def system(self) -> System:
        """The best one."""
        return System(self.prompts, self.postprocess)


class PostprocessChoice:
    """The systems to try, and the texts to encode for them.

    Args:
        pair_encoder: the pairs and the encoder.
        prompts: the chosen prompt and other leading prompts, each at its best layer.
        layers: indices of the layers that the search may choose.
        kinds: the kinds of maps.
        unlabeled: the texts for whitening.
        size: maximum number of prompts in an ensemble.
    """

    def __init__(
        self,
        pair_encoder: PairEncoder,
        prompts: Sequence[Prompt],
        layers: Sequence[int],
        kinds: Collection[Kind],
        unlabeled: Unlabeled,
        size: int = 1,
    ) -> None:
        self._pair_encoder = pair_encoder
        self._kinds = kinds
        self._unlabeled = unlabeled
        self._size = size
        self._last = pair_encoder.encoder.resolve_layer(None)
        # At the last layer, too, if the search may choose it.
        at_last = [replace(prompt, layer=self._last) for prompt in prompts if self._last in layers]
        self._prompts = list(dict.fromkeys([*prompts, *at_last]))
        dev = pair_encoder.pairs.sentences()
        whitens = Kind.WHITEN in kinds
        self._texts = list(dict.fromkeys([*dev, *(unlabeled.texts if whitens else ())]))
        self._layers_of = pair_encoder.layers_of(self._prompts)
        self._states: dict[Prompt, StoredStates] = {}

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
            width = self._pair_encoder.encoder.width
            self._unlabeled.warn_if_few(max(width(prompt.layer) for prompt in self._prompts))

    def run(self, folder: Path, progress: Bar) -> tuple[list[Choice], float]:
        """Encode, fit the maps and compare them; the folder keeps the result.

        Returns:
            The choice of a prompt and its map, then of ensembles, each with one more prompt; and the
            seconds that encoding took.

        Raises:
            UserError: a prompt cannot be used, or the encoder has no unembedding matrix.
        """
        kinds = ",".join(sorted(self._kinds))
        key = self._pair_encoder.cache_key(
            self._prompts, kinds, str(self._size), *self._unlabeled.texts
        )
        path = folder / "postprocess" / f"{key}.npz"
        if not path.exists():
            self._compute(path, progress)
        return self._read(path)

    def _compute(self, path: Path, progress: Bar) -> None:
        states_folder = StatesFolder(self._pair_encoder, path.parent)
        for prompt, layers in self._layers_of.items():
            try:
                self._states[prompt] = states_folder.states(self._texts, prompt, layers)
            except NotFiniteError as error:
                if error.location:
                    raise
                row = list(self._unlabeled.texts).index(error.text)
                raise error.at(f"{self._unlabeled.name}, text {row + 1}") from None
            progress.advance(len(self._pair_encoder.pairs))
        choices = [self._choose((prompt,) for prompt in self._prompts)]
        while len(choices) < self._size and (larger := list(self._larger(choices[-1].prompts))):
            choices.append(self._choose(larger, choices[-1].postprocess))
        self._write(choices, path)
        self._states.clear()
        states_folder.clear()

    def _larger(self, prompts: tuple[Prompt, ...]) -> Iterator[tuple[Prompt, ...]]:
        """Yield prompts with one more, at the layer of the first one if it is known there."""
        first = prompts[0]
        used = {replace(prompt, layer=None) for prompt in prompts}
        width = self._pair_encoder.encoder.width
        for prompt in self._layers_of:
            at_layer = replace(prompt, layer=first.layer)
            own = next(known for known in self._prompts if replace(known, layer=None) == prompt)
            other = at_layer if at_layer in self._prompts else own
            if prompt not in used and width(other.layer) == width(first.layer):
                yield (*prompts, other)

    def _choose(
        self, groups: Iterable[tuple[Prompt, ...]], like: Postprocess | None = None
    ) -> Choice:
        """Return the best group of prompts and its map; of the kind and settings of one, if given."""
        similarities: list[NDArray[np.float32]] = []
        # The maps of large models are large, so that only the best one is kept.
        _, index, group, postprocess = max(
            self._tried(groups, like, similarities), key=itemgetter(0)
        )
        return Choice(group, postprocess, np.stack(similarities), index)

    def _tried(
        self,
        groups: Iterable[tuple[Prompt, ...]],
        like: Postprocess | None,
        similarities: list[NDArray[np.float32]],
    ) -> Iterator[tuple[float, int, tuple[Prompt, ...], Postprocess]]:
        """Yield score, index, prompts and map of each system, and append its similarities."""
        rows = {text: row for row, text in enumerate(self._texts)}
        unlabeled = [rows[text] for text in self._unlabeled.texts if text in rows]
        first, second = self._pair_encoder.pairs.sentence_rows(self._texts)
        for group in groups:
            embeddings = averaged([self._embeddings(prompt) for prompt in group])
            for postprocess in self._maps(group, embeddings, unlabeled, like):
                mapped = postprocess.apply(embeddings)
                similarities.append(cosine(mapped[first], mapped[second]))
                score = self._pair_encoder.objective.score(similarities[-1])
                yield (
                    float(np.nan_to_num(score, nan=-np.inf)),
                    len(similarities) - 1,
                    group,
                    postprocess,
                )

    def _maps(
        self,
        group: tuple[Prompt, ...],
        embeddings: NDArray[np.float32],
        unlabeled: Sequence[int],
        like: Postprocess | None,
    ) -> Iterator[Postprocess]:
        """Yield the maps of some embeddings to try: one if it has to be like another one."""
        kinds = self._kinds if like is None else (like.record.kind,)
        if Kind.WHITEN in kinds:
            whitening = Whitening(embeddings[unlabeled], self._unlabeled)
            settings = WHITENINGS if like is None else (like.record.whitening,)
            yield from (whitening.map(exponent, ridge) for exponent, ridge in settings)
        elif like is not None:
            yield like
        # At an inner layer, the unembedding says nothing about the states.
        if like is None and Kind.EMBFILTER in kinds and self._are_last(group):
            yield from self._embfilters

    def _are_last(self, group: tuple[Prompt, ...]) -> bool:
        return {self._layer(prompt) for prompt in group} == {self._last}

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

    def _embeddings(self, prompt: Prompt) -> NDArray[np.float32]:
        at_no_layer = replace(prompt, layer=None)
        index = self._layers_of[at_no_layer].index(self._layer(prompt))
        return self._states[at_no_layer].by_layer[index]

    def _layer(self, prompt: Prompt) -> int:
        return self._pair_encoder.encoder.resolve_layer(prompt.layer)

    def _write(self, choices: Sequence[Choice], path: Path) -> None:
        arrays: dict[str, Any] = {
            "seconds": sum(stored.seconds for stored in self._states.values())
        }
        for number, choice in enumerate(choices):
            values = {
                "prompts": [self._prompts.index(prompt) for prompt in choice.prompts],
                "record": choice.postprocess.record.model_dump_json(),
                "mean": choice.postprocess.mean,
                "matrix": choice.postprocess.matrix,
                "similarities": choice.similarities,
                "index": choice.index,
            }
            arrays |= {
                f"{number}.{name}": value for name, value in values.items() if value is not None
            }
        with atomic_write(path, "wb") as file:
            np.savez(file, **arrays)

    def _read(self, path: Path) -> tuple[list[Choice], float]:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        choices: list[Choice] = []
        while f"{len(choices)}.record" in arrays:
            of_choice = f"{len(choices)}."
            record = PostprocessRecord.model_validate_json(str(arrays[f"{of_choice}record"]))
            postprocess = Postprocess(
                record,
                arrays.get(f"{of_choice}mean"),
                arrays.get(f"{of_choice}matrix"),
                self._unlabeled.hashes if record.kind == Kind.WHITEN else None,
            )
            prompts = tuple(self._prompts[index] for index in arrays[f"{of_choice}prompts"])
            similarities, index = (
                arrays[f"{of_choice}{name}"] for name in ("similarities", "index")
            )
            choices.append(Choice(prompts, postprocess, similarities, int(index)))
        return choices, float(arrays["seconds"])
