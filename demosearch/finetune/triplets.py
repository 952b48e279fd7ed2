"""Training data: a text, one that means the same, and one that does not though it looks alike."""

from __future__ import annotations

from pathlib import Path

from demosearch.datasets.tables import read_rows
from demosearch.errors import UserError

Triplet = tuple[str, str, str]

# The column names of the paper's file, and sentence-transformers'.
COLUMN_SETS = (("sent0", "sent1", "hard_neg"), ("anchor", "positive", "negative"))


def read_triplets(path: str | Path) -> list[Triplet]:
    """Read triplets from CSV, TSV, JSONL or parquet.

    Raises:
        UserError: the file is missing, has other columns, or a text is empty (row named).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"no training file {path}")
    triplets = []
    for place, row in read_rows(path):
        names = next((each for each in COLUMN_SETS if all(name in row for name in each)), None)
        if names is None:
            wanted = " or ".join(",".join(each) for each in COLUMN_SETS)
            raise UserError(f"{place}: needed are the columns {wanted}; found {', '.join(row)}")
        texts = [row[name] for name in names]
        for name, text in zip(names, texts, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"{place}: '{name}' is empty or no text")
        triplets.append((texts[0], texts[1], texts[2]))
    if not triplets:
        raise UserError(f"training file {path} has no rows")
    return triplets
