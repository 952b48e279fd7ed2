"""Overlaps between an evaluation's tasks and the data that chose the demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from demosearch._common.words import letters_of
from demosearch.datasets.classification import Classification
from demosearch.datasets.pairs import Pairs
from demosearch.datasets.sources import Split, read_pairs
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.evaluation.tasks import TaskData
from demosearch.known_demonstrations import KnownDemonstrations
from demosearch.postprocess import text_hashes
from demosearch.prompt import comparison_key

_OTHER_SPELLING = "-senteval"
# STS-B's own splits share four pairs, which do not change a score.
_NEGLIGIBLE = 0.01
# The only data sets that are recognized by name.
_STSB = tuple(f"stsb-{split}{spelling}" for split in Split for spelling in ("", _OTHER_SPELLING))


def find_overlaps(
    file: DemonstrationsFile | KnownDemonstrations,
    data: dict[str, TaskData],
    folder: str | None = None,
) -> list[str]:
    """Return a line for each task that contains dev pairs or demonstrations of a file.

    A dev set is recognized by its hash. STS-B, whose pairs are also in STS12 to STS16, is recognized by
    its name, in either spelling, and pair by pair if `folder` contains it. A demonstration is
    recognized by its prepared text.

    Args:
        file: the demonstrations and the data that chose them.
        data: the tasks.
        folder: the folder of STS-B.
    """
    if isinstance(file, KnownDemonstrations):
        # Their pairs are known by name only.
        sets = [(file.dev, "")]
    else:
        sets = [(dev.name, dev.sha256) for dev in file.dev.sets or [file.dev]]
    chosen_on = [(name, digest, _pairs_of(name, folder)) for name, digest in sets]
    return [
        f"{name}: {overlap}"
        for name, task in data.items()
        for overlap in _overlaps(file, task, chosen_on)
    ]


def _pairs_of(name: str, folder: str | None) -> set[frozenset[str]]:
    """Return the pairs of the STS-B split with this name; empty if it is another set or not available."""
    if name not in _STSB or folder is None:
        return set()
    split = Split(name.removesuffix(_OTHER_SPELLING).removeprefix("stsb-"))
    try:
        return set(_keys(read_pairs("stsb", split, folder)))
    except UserError:
        return set()


def _keys(pairs: Pairs) -> Iterator[frozenset[str]]:
    """Yield a key for each pair that is the same for every spelling, casing and order."""
    for pair in zip(pairs.sentences1, pairs.sentences2, strict=True):
        yield frozenset(letters_of(text) for text in pair)


def _overlaps(
    file: DemonstrationsFile | KnownDemonstrations,
    task: TaskData,
    chosen_on: Sequence[tuple[str, str, set[frozenset[str]]]],
) -> Iterator[str]:
    if not isinstance(task, Classification):
        for name, digest, known in chosen_on:
            if any(pairs.sha256 == digest or _same_split(pairs.name, name) for pairs in task):
                yield f"the demonstrations were chosen on it ({name})"
                continue
            shared = sum(key in known for pairs in task for key in _keys(pairs))
            count = sum(map(len, task))
            if shared > _NEGLIGIBLE * count:
                yield f"the demonstrations were chosen on {shared} of its {count} pairs ({name})"
        if isinstance(file, DemonstrationsFile):
            yield from _own_texts(file, task)
    parts = [task] if isinstance(task, Classification) else task
    texts = {comparison_key(text) for part in parts for text in part.sentences()}
    prompts = [file.prompt] if isinstance(file, KnownDemonstrations) else file.prompts
    for prompt in prompts:
        for demonstration in prompt.demonstrations:
            if comparison_key(demonstration.sentence) in texts:
                yield f"contains the demonstration '{demonstration.sentence}'"


def _own_texts(file: DemonstrationsFile, task: Sequence[Pairs]) -> Iterator[str]:
    """Yield a line if post-processing was fitted on sentences of a task ('own texts')."""
    postprocess = file.postprocessing
    if postprocess is None or postprocess.texts is None:
        return
    sentences = list(dict.fromkeys(text for pairs in task for text in pairs.sentences()))
    own = int(np.isin(text_hashes(sentences), postprocess.texts).sum())
    if own > _NEGLIGIBLE * len(sentences):
        yield (
            f"own texts: post-processing was fitted on {own} of its {len(sentences)} sentences"
            f" ({postprocess.record.fitted_on}), without their scores"
        )


def _same_split(first: str, second: str) -> bool:
    """Whether two names mean the same split of STS-B, in either spelling."""
    names = {first.removesuffix(_OTHER_SPELLING), second.removesuffix(_OTHER_SPELLING)}
    return first in _STSB and len(names) == 1
