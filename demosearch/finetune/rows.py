"""Training data: texts that mean the same, and hard negatives that do not though they look alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demosearch.datasets.tables import read_rows
from demosearch.errors import UserError

# A text, one that means the same, one that does not; without the last, other rows' texts are the only
# negatives; a text alone is its own positive under another dropout.
Row = tuple[str, ...]

# The column names of the paper's file, and sentence-transformers'; what a file has of them is taken.
COLUMN_SETS = (
    ("sent0", "sent1", "hard_neg"),
    ("anchor", "positive", "negative"),
    ("anchor", "positive"),
    ("sentence1", "sentence2"),
    ("text",),
)
# What files of graded or classified pairs have besides.
_GRADES = ("score", "label", "gold_label")


def read_training_rows(path: str | Path, columns: Sequence[str] | None = None) -> list[Row]:
    """Read training rows from CSV, TSV, JSONL or parquet.

    Args:
        path: the file.
        columns: names of one to three columns: the text, its positive, its hard negative; None takes
            the first of `COLUMN_SETS` that the file has.

    Raises:
        UserError: the file is missing, has other columns, or a text is empty (row named).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"no training file {path}")
    if columns is not None and not 1 <= len(columns) <= 3:
        raise UserError(f"--columns {','.join(columns)}: give one to three names")
    rows: list[Row] = []
    for place, row in read_rows(path):
        # The first row decides for all.
        columns = columns or _columns(row, place)
        rows.append(tuple(_text(row, name, place) for name in columns))
    if not rows:
        raise UserError(f"training file {path} has no rows")
    return rows


def _columns(row: dict[str, Any], place: str) -> tuple[str, ...]:
    for names in COLUMN_SETS:
        if all(name in row for name in names):
            if graded := [name for name in _GRADES if name in row]:
                raise UserError(
                    f"{place}: the column '{graded[0]}' says that not all pairs mean the same, and in"
                    " training all would; leave those out that do not, or say --columns"
                    f" {','.join(names)}"
                )
            return names
    wanted = " or ".join(",".join(names) for names in COLUMN_SETS)
    raise UserError(
        f"{place}: needed are the columns {wanted}; found {', '.join(row) or 'none'}; name yours by"
        " --columns"
    )


def _text(row: dict[str, Any], name: str, place: str) -> str:
    if name not in row:
        raise UserError(f"{place}: no column '{name}'; found {', '.join(row) or 'none'}")
    if not isinstance(row[name], str) or not row[name].strip():
        raise UserError(f"{place}: '{name}' is empty or no text")
    return str(row[name])
