"""The table of tasks, with the location of their data in a SentEval folder and on the hub.

An STS task has one or more subsets of pairs; its score is Spearman's correlation over all pairs of all
subsets ('all' in SentEval), as in the paper. A transfer task classifies texts by their embeddings.
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
from demosearch.datasets.hub import read_hub_pairs
from demosearch.datasets.pairs import Pairs
from demosearch.datasets.sources import DATA_VARIABLE, HUB, Split, check_columns, read_pairs
from demosearch.errors import UserError

logger = logging.getLogger(__name__)

STS, TRANSFER, FULL = "sts", "transfer", "full"

TaskData: TypeAlias = list[Pairs] | Classification


@dataclass(frozen=True, slots=True)
class HubData:
    """A data set of scored pairs on the hub, with the columns `sentence1`, `sentence2` and `score`.

    Attributes:
        name: id of the data set.
        revision: commit.
        split: name of the split.
    """

    name: str
    revision: str
    split: str = "test"


@dataclass(frozen=True, slots=True)
class Task:
    """A row of the table of tasks.

    Attributes:
        name: the name that `--tasks` accepts.
        title: the name in the paper's tables.
        path: path of the data in a SentEval folder.
        read: returns the data in a SentEval folder, or None or an empty list if there is none.
        group: the table of the paper that contains the task; None if there is none.
        hub: the same data on the hub; None if the hub has no copy with the same pairs.
    """

    name: str
    title: str
    path: str
    read: Callable[[Path], TaskData | None]
    group: str | None
    hub: HubData | None = None


def _yearly(year: str) -> Callable[[Path], list[Pairs]]:
    def read(folder: Path) -> list[Pairs]:
        names = senteval.STS_SUBSETS[year]
        if missing := senteval.missing_sts_files(folder, year):
            if len(missing) < 2 * len(names):
                logger.warning("%s is incomplete: %s missing", year, ", ".join(missing))
            return []
        subsets = [senteval.read_sts_subset(folder, year, name) for name in names]
        if not any(map(len, subsets)):
            raise UserError(f"{folder / 'STS' / f'{year}-en-test'}: no pair has a gold score")
        return subsets

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
        # The hub's copies also contain the training and trial pairs.
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


def find_tasks(names: str, columns: str | Sequence[str] | None = None) -> list[Task]:
    """Return the tasks of a comma-separated list of tasks, groups, and files of the user's pairs.

    Args:
        names: the list.
        columns: of the files: first sentence, second sentence, score, as names or as one string with
            commas; None means `sentence1,sentence2,score`.

    Raises:
        UserError: a name is unknown, a file contains no valid pairs, or columns are given without a file.
    """
    tasks: dict[str, Task] = {}
    for name in (part.strip() for part in names.split(",")):
        for task in _named(name, columns):
            tasks.setdefault(task.name, task)
    check_columns(columns, [name for name in tasks if name not in TASKS])
    return list(tasks.values())


def _named(name: str, columns: str | Sequence[str] | None) -> list[Task]:
    lower = name.lower()
    if lower == FULL:
        return [TASKS[task] for group in GROUPS.values() for task in group]
    if lower in GROUPS:
        return [TASKS[task] for task in GROUPS[lower]]
    if lower in TASKS:
        return [TASKS[lower]]
    if Path(name).is_file():
        pairs = read_pairs(name, Split.TEST, columns=columns)
        # The path is the name, so that it cannot be the name of a known task or of another file.
        return [Task(name, name, name, lambda _: [pairs], None)]
    known = ", ".join([*GROUPS, FULL, *TASKS])
    raise UserError(f"--tasks must be one of {known}, or a file of pairs, but got '{name}'")


def read_tasks(tasks: Sequence[Task], folder: str | Path | None) -> dict[str, TaskData]:
    """Return the data of the tasks by name; a warning is logged for each task without data.

    Args:
        tasks: the requested tasks.
        folder: a SentEval folder, or `hub` for the hub's copies; None is enough for tasks that are
            files.

    Raises:
        UserError: the folder does not exist, or has no data of any task.
    """
    root = _senteval_folder(folder) if folder not in (None, HUB) else None
    data: dict[str, TaskData] = {}
    for task in tasks:
        if task_data := _data(task, root, hub=folder == HUB):
            data[task.name] = task_data
    if not data and root is None:
        raise UserError(f"the tasks require a SentEval data folder; set --data or {DATA_VARIABLE}")
    if not data:
        wanted = ", ".join(task.path for task in tasks)
        raise UserError(f"--data {folder} must contain at least one of {wanted}")
    for task in tasks:
        if task.name not in data:
            logger.warning(
                "%s is skipped because its data are missing: %s (SentEval's"
                " get_transfer_data.bash downloads them)",
                task.title,
                task.path if root is None else root / task.path,
            )
    return data


def _data(task: Task, root: Path | None, *, hub: bool) -> TaskData | None:
    if hub and task.hub is not None:
        return [read_hub_pairs(task.hub.name, task.hub.split, task.name, task.hub.revision)]
    if root is None:
        return None if task in TASKS.values() else task.read(Path())
    return task.read(root)


def _senteval_folder(folder: str | Path) -> Path:
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"--data must be an existing SentEval data folder but got {folder}")
    # The toolkit's own scripts write to the folder downstream/.
    for name in ("senteval", "downstream"):
        if not (root / "STS").is_dir() and (root / name).is_dir():
            root /= name
    return root
