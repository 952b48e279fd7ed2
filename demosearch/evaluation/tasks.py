"""The tasks: a row each, with where its data lies in a SentEval folder, and on the hub.

An STS task is one or more subsets of pairs; its score is Spearman's correlation over all of them
together ('all' in SentEval), as in the paper. A transfer task classifies texts by their embeddings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from demosearch.datasets import senteval
from demosearch.datasets.classification import Classification
from demosearch.datasets.pairs import Pairs
from demosearch.datasets.sources import DATA_VARIABLE, HUB, Split, read_hub_pairs, read_pairs
from demosearch.errors import UserError

logger = logging.getLogger(__name__)

STS, TRANSFER, FULL = "sts", "transfer", "full"

TaskData: TypeAlias = list[Pairs] | Classification


@dataclass(frozen=True, slots=True)
class HubData:
    """A data set of scored pairs on the hub: the columns `sentence1, sentence2, score`.

    Attributes:
        name: its id.
        revision: its commit.
        split: which part.
    """

    name: str
    revision: str
    split: str = "test"


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation.

    Attributes:
        name: what `--tasks` takes.
        title: what the paper's tables call it.
        place: where its data lies below a SentEval folder.
        read: returns its data, or nothing if the folder does not have it.
        group: the table of the paper it stands in; None outside of them.
        hub: where it lies on the hub, if it does in the same form.
    """

    name: str
    title: str
    place: str
    read: Callable[[Path], TaskData | None]
    group: str | None
    hub: HubData | None = None


def _yearly(year: str) -> Callable[[Path], list[Pairs]]:
    def read(folder: Path) -> list[Pairs]:
        if lacking := senteval.lacking_sts_files(folder, year):
            if len(lacking) < 2 * len(senteval.STS_SUBSETS[year]):
                logger.warning("%s is not whole, there is no %s", year, ", ".join(lacking))
            return []
        subsets = senteval.STS_SUBSETS[year]
        found = [senteval.read_sts_subset(folder, year, subset) for subset in subsets]
        if found and not any(map(len, found)):
            raise UserError(f"{folder / 'STS' / f'{year}-en-test'}: no pair has a gold score")
        return found

    return read


def _stsb(split: str) -> Callable[[Path], list[Pairs]]:
    def read(folder: Path) -> list[Pairs]:
        file = senteval.find_stsb(folder, split)
        if file is None:
            return []
        return [senteval.read_stsb(file, f"stsb-{split}-senteval").check(str(file))]

    return read


def _sick(folder: Path) -> list[Pairs]:
    pairs = senteval.read_sick(folder)
    return [] if pairs is None else [pairs]


def _opposites(title: str, *files: str) -> Task:
    read = partial(senteval.read_opposites, name=title, files=files)
    return Task(title.lower(), title, f"{title}/{files[0]}", read, TRANSFER)


def _yearly_sts(year: int, revision: str) -> Task:
    name = f"STS{year}"
    hub = HubData(f"mteb/sts{year}-sts", revision)
    return Task(name.lower(), name, f"STS/{name}-en-test", _yearly(name), STS, hub)


_STSB_HUB = HubData("mteb/stsbenchmark-sts", "b0fddb56ed78048fa8b90373c8a3cfc37b684831")
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _yearly_sts(12, "a0d554a64d88156834ff5ae9920b964011b16384"),
        _yearly_sts(13, "7e90230a92c190f1bf69ae9002b8cea547a64cca"),
        _yearly_sts(14, "6031580fec1f6af667f0bd2da0a551cf4f0b2375"),
        _yearly_sts(15, "ae752c7c21bf194d8b67fd573edf7ae58183cbe3"),
        _yearly_sts(16, "4d8694f8f0e0100860b497b999b3dbed754a0513"),
        Task("stsb", "STS-B", "STS/STSBenchmark/sts-test.csv", _stsb("test"), STS, hub=_STSB_HUB),
        # The hub's copies hold the training and trial pairs, too.
        Task("sickr", "SICK-R", "SICK/SICK_test_annotated.txt", _sick, STS),
        _opposites("MR", "rt-polarity.neg", "rt-polarity.pos"),
        _opposites("CR", "custrev.neg", "custrev.pos"),
        _opposites("SUBJ", "subj.subjective", "subj.objective"),
        _opposites("MPQA", "mpqa.neg", "mpqa.pos"),
        Task("sst2", "SST2", "SST/binary/sentiment-train", senteval.read_sst, TRANSFER),
        Task("trec", "TREC", "TREC/train_5500.label", senteval.read_trec, TRANSFER),
        Task("mrpc", "MRPC", "MRPC/msr_paraphrase_train.txt", senteval.read_mrpc, TRANSFER),
        Task(
            "stsb-dev",
            "STS-B dev",
            "STS/STSBenchmark/sts-dev.csv",
            _stsb("dev"),
            None,
            HubData(_STSB_HUB.name, _STSB_HUB.revision, "validation"),
        ),
    )
}
GROUPS: dict[str, tuple[str, ...]] = {
    group: tuple(task.name for task in TASKS.values() if task.group == group)
    for group in (STS, TRANSFER)
}


def find_tasks(names: str) -> list[Task]:
    """Return the tasks that a comma-separated list of tasks, groups and files stands for.

    A file holds pairs of the user's own.

    Raises:
        UserError: a name is unknown, or a file holds no pairs.
    """
    found: dict[str, Task] = {}
    for name in (part.strip() for part in names.split(",")):
        for task in _named(name):
            found.setdefault(task.name, task)
    return list(found.values())


def _named(name: str) -> list[Task]:
    lower = name.lower()
    if lower == FULL:
        return [TASKS[each] for group in GROUPS.values() for each in group]
    if lower in GROUPS:
        return [TASKS[each] for each in GROUPS[lower]]
    if lower in TASKS:
        return [TASKS[lower]]
    if Path(name).is_file():
        pairs = read_pairs(name, Split.TEST)
        # A whole path is nobody else's name, and nobody takes it for a known task.
        return [Task(name, name, name, lambda _: [pairs], None)]
    known = ", ".join([*GROUPS, FULL, *TASKS])
    raise UserError(f"unknown task '{name}'; known: {known}; or a file of pairs")


def read_tasks(tasks: Sequence[Task], folder: str | Path | None) -> dict[str, TaskData]:
    """Read the tasks that there is data for; those there is none for are named in the log.

    Args:
        tasks: what is wanted.
        folder: a SentEval folder; `hub` is the hub's copies; None serves tasks that are files.

    Raises:
        UserError: the folder is not there, or has none of the tasks.
    """
    root = _senteval_folder(folder) if folder not in (None, HUB) else None
    found: dict[str, TaskData] = {}
    left_out: list[Task] = []
    for task in tasks:
        if data := _data(task, root, hub=folder == HUB):
            found[task.name] = data
        else:
            left_out.append(task)
    if not found and root is None:
        raise UserError(f"give the SentEval data folder by --data or {DATA_VARIABLE}")
    if not found:
        wanted = ", ".join(task.place for task in tasks)
        raise UserError(f"{folder} has none of the tasks' data: {wanted}")
    for task in left_out:
        where = task.place if root is None else root / task.place
        logger.warning(
            "%s is left out, its data is not there: %s (SentEval's get_transfer_data.bash fetches it)",
            task.title,
            where,
        )
    return found


def _data(task: Task, root: Path | None, *, hub: bool) -> TaskData | None:
    if hub and task.hub is not None:
        there = task.hub
        return [read_hub_pairs(there.name, there.split, task.name, there.revision)]
    if root is None:
        return None if task in TASKS.values() else task.read(Path())
    return task.read(root)


def _senteval_folder(folder: str | Path) -> Path:
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"--data {folder}: no such folder; give a SentEval data folder")
    # The toolkit's own scripts put everything below downstream/.
    for below in ("senteval", "downstream"):
        if not (root / "STS").is_dir() and (root / below).is_dir():
            root /= below
    return root
