"""Training data: texts that mean the same, and hard negatives that do not though they look alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.tables import read_rows
from demosearch.errors import UserError
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
# What the columns are called where they are trained on.
_COLUMNS = ("anchor", "positive", "negative")
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


def rendered_rows(
    rows: Sequence[Row], prompt: Prompt, tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[list[str]]:
    """Return the prompts of the rows' texts, each text cut to `limit` tokens first.

    The paper's training code cuts and decodes; its evaluation prepares. Here the same `render`
    serves both, so that the model is trained on the prompts that it is used with. A text alone is
    given twice: dropout makes two of it (SimCSE's unsupervised form).
    """
    texts = list(dict.fromkeys(text for row in rows for text in row))
    ids = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=limit)["input_ids"]
    cut = dict(zip(texts, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True))
    return [
        [prompt.render(cut[text]) for text in (row * 2 if len(row) == 1 else row)] for row in rows
    ]


def columns_of(rendered: list[list[str]]) -> list[tuple[int, str]]:
    """Return the places and names of the columns; a text alone stands in two."""
    return list(enumerate(_COLUMNS[: len(rendered[0])]))


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
