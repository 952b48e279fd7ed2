"""Training data: texts with the same meaning, and hard negatives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.tables import read_rows
from demosearch.errors import UserError
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A text, a text with the same meaning, and a hard negative. Without a hard negative, the texts of other
# rows are the only negatives. A single text is its own positive under another dropout mask.
Row = tuple[str, ...]

# Column names of the paper's file and of sentence-transformers; the first set that a file has is used.
COLUMN_SETS = (
    ("sent0", "sent1", "hard_neg"),
    ("anchor", "positive", "negative"),
    ("anchor", "positive"),
    ("sentence1", "sentence2"),
    ("text",),
)
# Column names of the data set that the trainer gets.
_COLUMNS = ("anchor", "positive", "negative")
# Columns of files whose pairs do not all have the same meaning.
_GRADES = ("score", "label", "gold_label")


def read_training_rows(path: str | Path, columns: Sequence[str] | None = None) -> list[Row]:
    """Read training rows from CSV, TSV, JSONL or parquet.

    Args:
        path: the file.
        columns: names of one to three columns: the text, its positive, its hard negative; None uses
            the first of `COLUMN_SETS` that the file has.

    Raises:
        UserError: the file is missing, has other columns, or a text is empty (row named).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"no training file {path}")
    if columns is not None and not 1 <= len(columns) <= 3:
        raise UserError(f"--columns must be one to three names but got {','.join(columns)}")
    rows: list[Row] = []
    for location, row in read_rows(path):
        # The first row determines the columns of all rows.
        columns = columns or _columns(row, location)
        rows.append(tuple(_text(row, name, location) for name in columns))
    if not rows:
        raise UserError(f"training file {path} has no rows")
    return rows


def rendered_rows(
    rows: Sequence[Row], prompt: Prompt, tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[list[str]]:
    """Return the prompts of the rows' texts, each text truncated to `limit` tokens.

    The paper's training code truncates and decodes, and its evaluation code prepares the text. Here
    both use `render`, so that the model is trained on the prompts that it is used with. A single text
    is returned twice: dropout makes the two embeddings differ (unsupervised SimCSE).
    """
    texts = list(dict.fromkeys(text for row in rows for text in row))
    ids = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=limit)["input_ids"]
    truncated = dict(zip(texts, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True))
    return [
        [prompt.render(truncated[text]) for text in (row * 2 if len(row) == 1 else row)]
        for row in rows
    ]


def columns_of(rendered: list[list[str]]) -> list[tuple[int, str]]:
    """Return the indices and names of the columns."""
    return list(enumerate(_COLUMNS[: len(rendered[0])]))


def _columns(row: dict[str, Any], location: str) -> tuple[str, ...]:
    for names in COLUMN_SETS:
        if all(name in row for name in names):
            if graded := [name for name in _GRADES if name in row]:
                raise UserError(
                    f"{location}: the column '{graded[0]}' suggests that not all pairs have the same"
                    " meaning, as training assumes; remove the other pairs, or use --columns"
                    f" {','.join(names)}"
                )
            return names
    wanted = " or ".join(",".join(names) for names in COLUMN_SETS)
    raise UserError(
        f"{location}: the columns must be {wanted} but got {', '.join(row) or 'none'}; name your columns"
        " with --columns"
    )


def _text(row: dict[str, Any], name: str, location: str) -> str:
    if name not in row:
        raise UserError(
            f"{location}: the columns must include '{name}' but got {', '.join(row) or 'none'}"
        )
    if not isinstance(row[name], str) or not row[name].strip():
        raise UserError(f"{location}: '{name}' is empty or not text")
    return str(row[name])
