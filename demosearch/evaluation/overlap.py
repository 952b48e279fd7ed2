"""Whether a task had a part in choosing the demonstrations that it is to judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from demosearch.datasets.classification import Classification
from demosearch.datasets.pairs import Pairs
from demosearch.datasets.sources import Split, read_pairs
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.evaluation.tasks import TaskData
from demosearch.prompt import prepare

_OTHER_SPELLING = "-senteval"
# STS-B's own parts share four pairs; so few change nothing.
_FEW = 0.01
# Only of these does a name say what is in them.
_STSB = tuple(f"stsb-{split}{spelling}" for split in Split for spelling in ("", _OTHER_SPELLING))


def find_overlaps(
    file: DemonstrationsFile, data: dict[str, TaskData], folder: str | None = None
) -> list[str]:
    """Return a line for each task that chose the demonstrations or that they are taken from.

    A dev set is recognised by its hash. STS-B, whose pairs are also in STS12 to STS16, is recognised by
    its name, in either spelling, and pair by pair where `folder` has it. A demonstration is
    recognised by its prepared text.

    Args:
        file: what chose them and what they are.
        data: the tasks.
        folder: where STS-B is looked for.
    """
    chosen_on = [
        (dev.name, dev.sha256, _pairs_of(dev.name, folder)) for dev in file.dev.sets or [file.dev]
    ]
    return [
        f"{name}: {what}"
        for name, task in data.items()
        for what in _overlaps(file, task, chosen_on)
    ]


def _pairs_of(name: str, folder: str | None) -> set[frozenset[str]]:
    """Return the pairs of STS-B's part of this name, if it is one and the folder has it."""
    if name not in _STSB or folder is None:
        return set()
    split = Split(name.removesuffix(_OTHER_SPELLING).removeprefix("stsb-"))
    try:
        return set(_keys(read_pairs("stsb", split, folder)))
    except UserError:
        return set()


def _keys(pairs: Pairs) -> Iterator[frozenset[str]]:
    """Yield what is alike for a pair in every spelling, casing and order."""
    for pair in zip(pairs.sentences1, pairs.sentences2, strict=True):
        yield frozenset("".join(filter(str.isalnum, text)).lower() for text in pair)


def _overlaps(
    file: DemonstrationsFile,
    task: TaskData,
    chosen_on: Sequence[tuple[str, str, set[frozenset[str]]]],
) -> Iterator[str]:
    if not isinstance(task, Classification):
        for name, digest, known in chosen_on:
            if any(pairs.sha256 == digest or _same_part(pairs.name, name) for pairs in task):
                yield f"the demonstrations were chosen on it ({name})"
                continue
            shared = sum(key in known for pairs in task for key in _keys(pairs))
            count = sum(map(len, task))
            if shared > _FEW * count:
                yield f"the demonstrations were chosen on {shared} of its {count} pairs ({name})"
    parts = [task] if isinstance(task, Classification) else task
    texts = {prepare(text).lower() for part in parts for text in part.sentences()}
    for prompt in file.prompts:
        for one in prompt.demonstrations:
            if prepare(one.sentence).lower() in texts:
                yield f"holds the demonstration '{one.sentence}'"


def _same_part(one: str, other: str) -> bool:
    """Whether two names stand for the same part of STS-B, in one spelling or the other."""
    names = {one.removesuffix(_OTHER_SPELLING), other.removesuffix(_OTHER_SPELLING)}
    return one in _STSB and len(names) == 1
