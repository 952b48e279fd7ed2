"""Scored pairs from a known name, a file, or a folder, as in `--dev` and `--test`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
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
# Sets whose columns are known.
_NAMED = ("stsb", "starter")


class Split(StrEnum):
    """A split of a data set."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


class MissingSplitError(UserError):
    """A set of pairs does not have this split."""


def read_pairs(
    source: str,
    split: Split,
    data: str | None = None,
    columns: str | Sequence[str] | None = None,
) -> Pairs:
    """Read scored pairs.

    Args:
        source: `stsb`, `starter`, a file (CSV, TSV, JSONL or parquet with the columns
            `sentence1,sentence2,score`), a folder with `dev.csv` and `test.csv`, or a SentEval folder.
        split: of a named data set or a folder.
        data: folder of `stsb`, or `hub`; None means the folder in DEMOSEARCH_DATA, and the hub if
            that is not set.
        columns: of a file: the first sentence, the second one, the score, as names or as one string
            with commas; None means `COLUMNS`. They do not apply to `stsb`, `starter` and SentEval's
            files, which have no header.

    Raises:
        UserError: the source does not exist, a row is malformed (the message has file and row), or
            the pairs cannot be used for ranking (see `Pairs.check`).
    """
    names = pair_columns(columns)
    if source == "starter":
        if split is not Split.DEV:
            raise MissingSplitError(
                "the starter set has only development pairs; use a file for --test"
            )
        return _read_file(resource("wordlists", "starter_pairs.csv"), "starter")
    if source == "stsb":
        return _read_stsb(split, data)
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(path, split, columns=names)
    if not path.exists():
        raise UserError(
            f"pairs must be stsb, starter, or an existing file or folder but got '{source}'"
        )
    return _read_file(path, _name_of(path), names)


def read_sets(
    sources: str,
    split: Split,
    data: str | None = None,
    columns: str | Sequence[str] | None = None,
) -> Pairs:
    """Read one set of scored pairs, or several separated by commas, as one value.

    Args:
        sources: the sets, as in `read_pairs`.
        split: as in `read_pairs`.
        data: as in `read_pairs`.
        columns: of all sets that are files, as in `read_pairs`.

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
    return Pairs.joined([read_pairs(name, split, data, columns) for name in names])


def set_names(sources: str) -> list[str]:
    """Return the names of one set, or of several separated by commas."""
    names = [name.strip() for name in sources.split(",")]
    if len(names) > 1 and Path(sources).expanduser().is_file():
        # The name of a file may contain a comma.
        return [sources]
    return names


def pair_columns(columns: str | Sequence[str] | None) -> tuple[str, str, str]:
    """Return the names of the columns of pairs: the first sentence, the second one, the score.

    Args:
        columns: three names, or one string with commas; None means `COLUMNS`.

    Raises:
        UserError: there are not three different names.
    """
    if columns is None:
        return COLUMNS
    listed = columns.split(",") if isinstance(columns, str) else columns
    match [name.strip() for name in listed]:
        case [first, second, score] if (
            all({first, second, score}) and len({first, second, score}) == 3
        ):
            return first, second, score
    raise UserError(
        "columns must be three different names, e.g. sentence1,sentence2,label, but got"
        f" {','.join(listed)!r}"
    )


def check_columns(columns: str | Sequence[str] | None, sources: Iterable[str]) -> None:
    """Check that columns that a user names are those of a file.

    Args:
        columns: as in `read_pairs`.
        sources: sets of pairs, as in `read_sets`.

    Raises:
        UserError: no set is a file with a header, so that the names would be ignored.
    """
    names = [name for source in sources for name in set_names(source)]
    if columns is None or any(map(_has_header, names)):
        return
    reason = f"{', '.join(names)} has fixed columns" if names else "no file of pairs is read"
    raise UserError(f"columns name those of a file of pairs, but {reason}; remove the option")


def evaluation_sentences(
    source: str, data: str | None = None, columns: str | Sequence[str] | None = None
) -> list[str]:
    """Return the distinct sentences of a data set's dev pairs and, if it has any, test pairs.

    Args:
        source: sets of pairs, as in `read_sets`.
        data: as in `read_sets`.
        columns: as in `read_sets`.

    Raises:
        UserError: as `read_sets`.
    """
    sentences = read_sets(source, Split.DEV, data, columns).sentences()
    with suppress(MissingSplitError):
        sentences += read_sets(source, Split.TEST, data, columns).sentences()
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


def _has_header(name: str) -> bool:
    """Whether a set is a file or a folder of files with a header; a missing one is reported later."""
    path = Path(name).expanduser()
    if name in _NAMED:
        return False
    if path.is_dir():
        tables = (_find_table(path, split) for split in Split)
        return any(table is not None and not senteval.looks_like_stsb(table) for table in tables)
    return not senteval.looks_like_stsb(path)


def _find_table(folder: Path, split: Split) -> Path | None:
    tables = (parent / f"{split}.csv" for parent in (folder / "stsb", folder))
    return next((table for table in tables if table.is_file()), None)


def _read_folder(
    folder: Path,
    split: Split,
    name: str | None = None,
    columns: tuple[str, str, str] = COLUMNS,
) -> Pairs:
    if table := _find_table(folder, split):
        return _read_file(table, name or _name_of(table), columns)
    file = senteval.find_stsb(folder, split)
    if file is None:
        raise MissingSplitError(
            f"{folder} must contain {split}.csv or STS/STSBenchmark/sts-{split}.csv, but has neither"
        )
    return senteval.read_stsb(file, f"stsb-{split}-senteval").check(str(file))


def _read_file(path: Path, name: str, columns: tuple[str, str, str] = COLUMNS) -> Pairs:
    if senteval.looks_like_stsb(path):
        return senteval.read_stsb(path, name).check(str(path))
    first, second, score = columns
    rows: list[tuple[str, str, float]] = []
    for location, row in read_rows(path):
        if any(column not in row for column in columns):
            raise UserError(
                f"{location}: the columns must include {', '.join(columns)} but got"
                f" {', '.join(row) or 'none'}; name your columns with"
                " --columns (in finetune --dev-columns)"
            )
        rows.append(
            (
                _sentence(row[first], first, location),
                _sentence(row[second], second, location),
                _score(row[score], location),
            )
        )
    sentences1, sentences2, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return Pairs(name, sentences1, sentences2, scores).check(str(path))


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
