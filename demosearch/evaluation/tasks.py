"""The tasks: a row each, with where its data lies in a SentEval folder.

A task is one or more subsets of pairs; its score is Spearman's correlation over all of them
together ('all' in SentEval), as in the paper.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demosearch.datasets import senteval
from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError

logger = logging.getLogger(__name__)

STS_GROUP = "sts"


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation.

    Attributes:
        name: what `--tasks` takes.
        title: what the paper's tables call it.
        place: where its data lies below a SentEval folder.
        read: returns its subsets; an empty list if the folder does not have it.
        group: the group it is a member of; None outside the paper's tables.
    """

    name: str
    title: str
    place: str
    read: Callable[[Path], list[Pairs]]
    group: str | None = STS_GROUP


def _yearly(year: str) -> Callable[[Path], list[Pairs]]:
    def read(folder: Path) -> list[Pairs]:
        subsets = senteval.sts_subsets(folder, year)
        return [senteval.read_sts_subset(folder, year, subset) for subset in subsets]

    return read


def _stsb(split: str) -> Callable[[Path], list[Pairs]]:
    def read(folder: Path) -> list[Pairs]:
        file = senteval.find_stsb(folder, split)
        return [] if file is None else [senteval.read_stsb(file, f"stsb-{split}-senteval")]

    return read


def _sick(folder: Path) -> list[Pairs]:
    pairs = senteval.read_sick(folder)
    return [] if pairs is None else [pairs]


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("sts12", "STS12", "STS/STS12-en-test", _yearly("STS12")),
        Task("sts13", "STS13", "STS/STS13-en-test", _yearly("STS13")),
        Task("sts14", "STS14", "STS/STS14-en-test", _yearly("STS14")),
        Task("sts15", "STS15", "STS/STS15-en-test", _yearly("STS15")),
        Task("sts16", "STS16", "STS/STS16-en-test", _yearly("STS16")),
        Task("stsb", "STS-B", "STS/STSBenchmark/sts-test.csv", _stsb("test")),
        Task("sickr", "SICK-R", "SICK/SICK_test_annotated.txt", _sick),
        Task("stsb-dev", "STS-B dev", "STS/STSBenchmark/sts-dev.csv", _stsb("dev"), None),
    )
}


def find_tasks(names: str) -> list[Task]:
    """Return the tasks that a comma-separated list of task and group names stands for.

    Raises:
        UserError: a name is unknown.
    """
    found: list[Task] = []
    for name in (part.strip().lower() for part in names.split(",")):
        members = [task for task in TASKS.values() if name in (task.name, task.group)]
        if not members:
            raise UserError(f"unknown task '{name}'; known: {STS_GROUP}, {', '.join(TASKS)}")
        found += [task for task in members if task not in found]
    return found


def read_tasks(tasks: Sequence[Task], folder: str | Path) -> dict[str, list[Pairs]]:
    """Read the tasks that a SentEval folder has; those it does not have are named in the log.

    Raises:
        UserError: the folder is not there, or has none of the tasks.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"--data {folder}: no such folder; give a SentEval data folder")
    if not (root / "STS").is_dir() and (root / "senteval").is_dir():
        root /= "senteval"
    found: dict[str, list[Pairs]] = {}
    for task in tasks:
        if subsets := task.read(root):
            found[task.name] = subsets
        else:
            logger.warning("%s is left out: %s is not there", task.title, root / task.place)
    if not found:
        wanted = ", ".join(task.place for task in tasks)
        raise UserError(f"{folder} has none of the tasks' data: {wanted}")
    return found
