"""The candidates file: one JSON object per line, which a person can read and edit.

Tables with the columns `sentence` and `word`, and the text format of the reference implementation, one
template per line, can be read too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError

from demosearch._common.files import atomic_write, json_text, read_text
from demosearch._common.lines import split_lines
from demosearch._common.tables import parse_object, read_rows
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError, first_error

# A line of the reference implementation's file, with spaces instead of underscores.
_REFERENCE_QUERY = 'This sentence : "*sent 0*" means in one word:"'
_REFERENCE_DEMONSTRATION = re.compile(r'This sentence : "([^"]*)" means in one word:"([^"]*)"\.')
REFERENCE_SOURCE = "reference"
_TABLES = (".csv", ".tsv", ".parquet")


class Candidate(Demonstration):
    """A demonstration that the search may choose, with its quality scores.

    Attributes:
        word_in_sentence: whether the word occurs in the sentence. Such candidates are flagged and
            not rejected, because they were among the best in measurements.
        pos: part of speech of a dictionary word.
        band: frequency of a dictionary word: common, medium or rare.
        topic: topic of a dictionary word, in the terms of the dictionary.
        agreement: share of a chat model's votes for this word.
        word_log_probability: log-probability, in nats, of the word and the closing quote after the
            prompt without demonstrations, under the model under test.
        zipf: Zipf frequency of the word: base-10 logarithm of its count in a billion words.
        words: length of the sentence in words; None in a script without blanks between words.
        characters: length of the sentence in letters and digits, in a script without blanks.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    word_in_sentence: bool | None = None
    pos: str | None = None
    band: str | None = None
    topic: str | None = None
    agreement: float | None = None
    word_log_probability: float | None = None
    zipf: float | None = None
    words: int | None = None
    characters: int | None = None


def write_candidates(path: str | Path, candidates: Iterable[Candidate]) -> None:
    """Write candidates, one per line, atomically. Fields that are None are left out."""
    with atomic_write(path) as file:
        for candidate in candidates:
            row = candidate.model_dump(exclude_none=True)
            file.write(json_text(row, indent=None))


def merge_candidates(files: Iterable[Iterable[Candidate]]) -> list[Candidate]:
    """Return the candidates of several files without duplicates; the first occurrence is kept."""
    merged: dict[str, Candidate] = {}
    for candidates in files:
        for candidate in candidates:
            merged.setdefault(candidate.id, candidate)
    return list(merged.values())


def read_candidates(path: str | Path) -> list[Candidate]:
    """Read a candidates file in any of the formats.

    Args:
        path: a CSV, TSV or parquet file with the columns `sentence` and `word`; other files have one JSON
            object or one template per line. An empty field of another column counts as missing.

    Raises:
        UserError: the file is not readable, contains no candidates, or has a malformed row (named).
    """
    path = Path(path)
    rows = _rows_of_table(path) if path.suffix.lower() in _TABLES else _rows_of_lines(path)
    candidates = list(rows)
    if not candidates:
        raise UserError(f"candidates file {path} contains no candidates")
    return candidates


def _rows_of_table(path: Path) -> Iterator[Candidate]:
    for location, row in read_rows(path):
        yield _valid(
            {name: row[name] for name in row if not _is_missing(name, row[name])}, location
        )


def _is_missing(name: str, value: Any) -> bool:
    """Whether a field is empty; parquet and pandas have several values for that."""
    empty = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return empty and name not in ("sentence", "word")


def _rows_of_lines(path: Path) -> Iterator[Candidate]:
    lines = split_lines(read_text(path, "candidates file"))
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        location = f"{path}, line {number}"
        if line.lstrip().startswith("{"):
            yield _valid(parse_object(line, location), location)
        elif (candidate := _from_reference(line.strip(), location)) is not None:
            yield candidate


def _valid(value: dict[str, Any], location: str) -> Candidate:
    # Version 0.1 wrote NaN or -Infinity where a quality score was not finite.
    value = {
        name: None if isinstance(item, float) and not math.isfinite(item) else item
        for name, item in value.items()
    }
    try:
        return Candidate.model_validate(value)
    except ValidationError as error:
        raise UserError(first_error(error, f"{location}: ", noun="field")) from error


def _from_reference(line: str, location: str) -> Candidate | None:
    """Return the demonstration of a template; None if the template has none."""
    text = line.replace("_", " ")
    if not text.endswith(_REFERENCE_QUERY):
        raise UserError(
            f"{location}: must be a JSON object, or a template of the reference implementation"
            ' (which ends with This_sentence_:_"*sent_0*"_means_in_one_word:")'
        )
    solved = text.removesuffix(_REFERENCE_QUERY)
    if not solved:
        return None
    match = _REFERENCE_DEMONSTRATION.fullmatch(solved)
    if match is None:
        raise UserError(f"{location}: the template must contain exactly one demonstration")
    return _valid({"sentence": match[1], "word": match[2], "source": REFERENCE_SOURCE}, location)
