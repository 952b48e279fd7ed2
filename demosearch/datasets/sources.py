"""Turning `--dev` and `--test` into pairs: a known name, a file, or a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from demosearch._common.resources import resource
from demosearch._common.tables import read_rows
from demosearch.datasets import senteval
from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError, one_line

DATA_VARIABLE = "DEMOSEARCH_DATA"
# In place of a folder: the hub's copies.
HUB = "hub"
# STS-B with its original casing; scores there are 0..1.
HUB_STSB = "sentence-transformers/stsb"
COLUMNS = ("sentence1", "sentence2", "score")


class Split(StrEnum):
    """Which part of a data set."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


def read_pairs(source: str, split: Split, data: str | None = None) -> Pairs:
    """Read scored pairs.

    Args:
        source: `stsb`, `starter`, a file (CSV, TSV, JSONL, parquet with the columns
            `sentence1,sentence2,score`), or a folder with `dev.csv` and so on, or SentEval's.
        split: which part of a named data set or folder.
        data: folder that `stsb` is looked for in, or `hub`; None is what DEMOSEARCH_DATA names, and
            where that is unset the hub.

    Raises:
        UserError: nothing is there, a row is malformed (file and row are named), fewer than 10
            pairs, or scores that cannot rank.
    """
    if source == "starter":
        if split is not Split.DEV:
            raise UserError("the starter set has dev pairs only; give a file for --test")
        return _read_file(resource("wordlists", "starter_pairs.csv"), "starter")
    if source == "stsb":
        return _read_stsb(split, data)
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(path, split)
    if not path.exists():
        raise UserError(f"no such file or folder: {source} (known names: stsb, starter)")
    return _read_file(path, _name_of(path))


def read_sets(sources: str, split: Split, data: str | None = None) -> Pairs:
    """Read one set of scored pairs, or several with commas between them, as one value.

    Raises:
        UserError: as `read_pairs`, or a set is given twice.
    """
    names = set_names(sources)
    if not all(names):
        raise UserError(f"'{sources}' names no set at one of its commas")
    if len(set(names)) < len(names):
        raise UserError(f"{sources}: a set is given twice")
    return Pairs.joined([read_pairs(name, split, data) for name in names])


def set_names(sources: str) -> list[str]:
    """Return the names of one set, or of several with commas between them."""
    names = [each.strip() for each in sources.split(",")]
    if len(names) > 1 and Path(sources).expanduser().is_file():
        # A file's name may hold a comma.
        return [sources]
    return names


def evaluation_sentences(source: str, data: str | None = None) -> list[str]:
    """Return the sentences of a data set's dev pairs, and of its test pairs where it has some.

    Args:
        source: as `read_sets` takes it.
        data: likewise.

    Raises:
        UserError: as `read_sets`.
    """
    found = read_sets(source, Split.DEV, data).sentences()
    with suppress(UserError):
        found += read_sets(source, Split.TEST, data).sentences()
    return list(dict.fromkeys(found))


def stsb_folder(data: str | None) -> str | None:
    """Return the folder that `stsb` is looked for in; None is the hub."""
    folder = data or os.environ.get(DATA_VARIABLE) or HUB
    return None if folder == HUB else folder


def reads_hub(sources: Sequence[str], data: str | None) -> bool:
    """Whether one of some sets (as `read_sets` takes them) is STS-B from the hub."""
    return stsb_folder(data) is None and any("stsb" in set_names(each) for each in sources)


def _read_stsb(split: Split, data: str | None) -> Pairs:
    if folder := stsb_folder(data):
        return _read_folder(Path(folder).expanduser(), split, f"stsb-{split}")
    part = "validation" if split is Split.DEV else str(split)
    return read_hub_pairs(HUB_STSB, part, f"stsb-{split}", scale=5.0)


def _name_of(file: Path) -> str:
    # STS-B is recognised in its own folder, so that no evaluation takes its dev set for fresh data.
    ours = file.resolve().parent.name == "stsb" and file.stem in list(Split)
    return f"stsb-{file.stem}" if ours else file.stem


def _read_folder(folder: Path, split: Split, name: str | None = None) -> Pairs:
    for place in (folder / "stsb", folder):
        if (table := place / f"{split}.csv").is_file():
            return _read_file(table, name or _name_of(table))
    file = senteval.find_stsb(folder, split)
    if file is None:
        raise UserError(
            f"{folder} holds no STS-B {split} set: neither {split}.csv nor"
            f" STS/STSBenchmark/sts-{split}.csv"
        )
    return senteval.read_stsb(file, f"stsb-{split}-senteval").check(str(file))


def _read_file(path: Path, name: str) -> Pairs:
    if senteval.looks_like_stsb(path):
        return senteval.read_stsb(path, name).check(str(path))
    columns: tuple[list[str], list[str], list[float]] = ([], [], [])
    for place, row in read_rows(path):
        missing = [column for column in COLUMNS if column not in row]
        if missing:
            raise UserError(
                f"{place}: no column '{missing[0]}'; needed are {', '.join(COLUMNS)},"
                f" found {', '.join(map(str, row)) or 'none'}"
            )
        for column, kept in zip(COLUMNS[:2], columns[:2], strict=True):
            kept.append(_sentence(row[column], column, place))
        columns[2].append(_score(row["score"], place))
    pairs = Pairs(name, tuple(columns[0]), tuple(columns[1]), tuple(columns[2]))
    return pairs.check(str(path))


def _sentence(value: Any, column: str, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: '{column}' is empty or no text")
    return value


def _score(value: Any, place: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"{place}: score {value!r} is not a number") from None


def read_hub_pairs(
    dataset: str, split: str, name: str, revision: str | None = None, scale: float = 1.0
) -> Pairs:
    """Read scored pairs from the hub: a data set with the columns `sentence1, sentence2, score`.

    Args:
        dataset: its id.
        split: which part of it.
        name: what it is called here.
        revision: its commit; None is the newest.
        scale: what its scores are multiplied by.

    Raises:
        UserError: it cannot be had, or its scores cannot rank.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"'{name}' needs a folder (--data, or {DATA_VARIABLE}) or the hub's copy, for which:"
            " pip install 'demosearch[hub]'"
        ) from None
    try:
        table = datasets.load_dataset(dataset, split=split, revision=revision)
    except Exception as error:  # the hub client raises many kinds; all mean: not to be had
        raise UserError(
            f"cannot fetch {dataset} from the hub ({one_line(error, 200)}); give a folder by --data or"
            f" {DATA_VARIABLE}, or a file"
        ) from error
    scores = tuple(scale * float(score) for score in table["score"])
    pairs = Pairs(name, tuple(table["sentence1"]), tuple(table["sentence2"]), scores)
    return pairs.check(dataset)
