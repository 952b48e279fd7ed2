"""Scored pairs from a known name, a file, or a folder, as in `--dev` and `--test`."""

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
from demosearch.datasets.hub import HUB_STSB, read_hub_pairs
from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError, short

DATA_VARIABLE = "DEMOSEARCH_DATA"
# The value of `--data` that means the hub's copies.
HUB = "hub"
COLUMNS = ("sentence1", "sentence2", "score")


class Split(StrEnum):
    """A split of a data set."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


def read_pairs(source: str, split: Split, data: str | None = None) -> Pairs:
    """Read scored pairs.

    Args:
        source: `stsb`, `starter`, a file (CSV, TSV, JSONL or parquet with the columns
            `sentence1,sentence2,score`), a folder with `dev.csv` and `test.csv`, or a SentEval folder.
        split: of a named data set or a folder.
        data: folder of `stsb`, or `hub`; None means the folder in DEMOSEARCH_DATA, and the hub if
            that is not set.

    Raises:
        UserError: the source does not exist, a row is malformed (the message has file and row), or
            the pairs cannot be used for ranking (see `Pairs.check`).
    """
    if source == "starter":
        if split is not Split.DEV:
            raise UserError("the starter set has only development pairs; use a file for --test")
        return _read_file(resource("wordlists", "starter_pairs.csv"), "starter")
    if source == "stsb":
        return _read_stsb(split, data)
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(path, split)
    if not path.exists():
        raise UserError(
            f"pairs must be stsb, starter, or an existing file or folder but got '{source}'"
        )
    return _read_file(path, _name_of(path))


def read_sets(sources: str, split: Split, data: str | None = None) -> Pairs:
    """Read one set of scored pairs, or several separated by commas, as one value.

    Raises:
        UserError: as `read_pairs`, or a set occurs twice.
    """
    names = set_names(sources)
    if not all(names):
        raise UserError(
            f"sets of pairs must be names separated by commas but got '{sources}'; remove the empty name"
        )
    if len(set(names)) < len(names):
        raise UserError(f"sets of pairs must be different but got '{sources}'")
    return Pairs.joined([read_pairs(name, split, data) for name in names])


def set_names(sources: str) -> list[str]:
    """Return the names of one set, or of several separated by commas."""
    names = [name.strip() for name in sources.split(",")]
    if len(names) > 1 and Path(sources).expanduser().is_file():
        # The name of a file may contain a comma.
        return [sources]
    return names


def evaluation_sentences(source: str, data: str | None = None) -> list[str]:
    """Return the distinct sentences of a data set's dev pairs and, if it has any, test pairs.

    Args:
        source: sets of pairs, as in `read_sets`.
        data: as in `read_sets`.

    Raises:
        UserError: as `read_sets`.
    """
    sentences = read_sets(source, Split.DEV, data).sentences()
    with suppress(UserError):
        sentences += read_sets(source, Split.TEST, data).sentences()
    return list(dict.fromkeys(sentences))


def stsb_folder(data: str | None) -> str | None:
    """Return the folder of `stsb`; None means the hub."""
    folder = data or os.environ.get(DATA_VARIABLE) or HUB
    return None if folder == HUB else folder


def reads_hub(sources: Sequence[str], data: str | None) -> bool:
    """Whether one of the sets (as in `read_sets`) is STS-B from the hub."""
    return stsb_folder(data) is None and any("stsb" in set_names(names) for names in sources)


def _read_stsb(split: Split, data: str | None) -> Pairs:
    if folder := stsb_folder(data):
        return _read_folder(Path(folder).expanduser(), split, f"stsb-{split}")
    hub_split = "validation" if split is Split.DEV else str(split)
    return read_hub_pairs(HUB_STSB, hub_split, f"stsb-{split}", scale=5.0)


def _name_of(file: Path) -> str:
    # STS-B is recognized in its own folder, so that an evaluation reports its dev set as an overlap.
    is_stsb = file.resolve().parent.name == "stsb" and file.stem in list(Split)
    return f"stsb-{file.stem}" if is_stsb else file.stem


def _read_folder(folder: Path, split: Split, name: str | None = None) -> Pairs:
    for parent in (folder / "stsb", folder):
        if (table := parent / f"{split}.csv").is_file():
            return _read_file(table, name or _name_of(table))
    file = senteval.find_stsb(folder, split)
    if file is None:
        raise UserError(
            f"{folder} must contain {split}.csv or STS/STSBenchmark/sts-{split}.csv, but has neither"
        )
    return senteval.read_stsb(file, f"stsb-{split}-senteval").check(str(file))


def _read_file(path: Path, name: str) -> Pairs:
    if senteval.looks_like_stsb(path):
        return senteval.read_stsb(path, name).check(str(path))
    columns: tuple[list[str], list[str], list[float]] = ([], [], [])
    for location, row in read_rows(path):
        missing = [column for column in COLUMNS if column not in row]
        if missing:
            raise UserError(
                f"{location}: the columns must include {', '.join(COLUMNS)} but got"
                f" {', '.join(map(str, row)) or 'none'}"
            )
        for column, sentences in zip(COLUMNS[:2], columns[:2], strict=True):
            sentences.append(_sentence(row[column], column, location))
        columns[2].append(_score(row["score"], location))
    pairs = Pairs(name, tuple(columns[0]), tuple(columns[1]), tuple(columns[2]))
    return pairs.check(str(path))


def _sentence(value: Any, column: str, location: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(
            f"{location}: '{column}' must be a non-empty text but got {short(repr(value))}"
        )
    return value


def _score(value: Any, location: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise UserError(
            f"{location}: the score must be a number but got {short(repr(value))}"
        ) from None
