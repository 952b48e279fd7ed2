"""The candidates file: one JSON object a line, that a person can read and edit.

The reference implementation's text format, one whole template a line, is read too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from demosearch._common.files import atomic_write, read_text
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError, first_error

# One line of the reference implementation's file, its underscores turned into spaces.
_REFERENCE_QUERY = 'This sentence : "*sent 0*" means in one word:"'
_REFERENCE_DEMONSTRATION = re.compile(r'This sentence : "([^"]*)" means in one word:"([^"]*)"\.')
REFERENCE_SOURCE = "reference"


class Candidate(Demonstration):
    """A demonstration that may be chosen, with what is known about it.

    Attributes:
        word_in_sentence: the word stands in its own sentence. Flagged, not refused: such candidates
            were among the best measured.
        pos: part of speech of a dictionary word.
        band: how frequent the dictionary word is: common, medium or rare.
        topic: what it is about, as the dictionary has it.
        agreement: share of a chat model's votes that gave this word.
        word_log_probability: of the word and the closing quote after the prompt without
            demonstration, in nats, by the model under test.
        zipf: the word's frequency: base-10 logarithm of its count in a billion words.
        words: length of the sentence in words.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    word_in_sentence: bool | None = None
    pos: str | None = None
    band: str | None = None
    topic: str | None = None
    agreement: float | None = None
    word_log_probability: float | None = None
    zipf: float | None = None
    words: int | None = None


def write_candidates(path: str | Path, candidates: Iterable[Candidate]) -> None:
    """Write candidates one a line, atomically; unknown values are left out."""
    with atomic_write(path) as file:
        for candidate in candidates:
            row = candidate.model_dump(exclude_none=True)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def merge_candidates(files: Iterable[Iterable[Candidate]]) -> list[Candidate]:
    """Return the candidates of several files, each pair once, as the first file has it."""
    merged: dict[str, Candidate] = {}
    for candidates in files:
        for one in candidates:
            merged.setdefault(one.id, one)
    return list(merged.values())


def read_candidates(path: str | Path) -> list[Candidate]:
    """Read a candidates file in either format.

    Raises:
        UserError: not readable, no candidate in it, or a malformed line (named).
    """
    text = read_text(path, "candidates file")
    candidates = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        if line.lstrip().startswith("{"):
            candidates.append(_from_json(line, place))
        elif (found := _from_reference(line.strip(), place)) is not None:
            candidates.append(found)
    if not candidates:
        raise UserError(f"candidates file {path} holds no candidate")
    return candidates


def _from_json(line: str, place: str) -> Candidate:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not JSON: {error}") from error
    try:
        return Candidate.model_validate(value)
    except ValidationError as error:
        raise UserError(first_error(error, f"{place}: ", noun="field")) from error


def _from_reference(line: str, place: str) -> Candidate | None:
    """Return the demonstration of a template line; None if the template has none."""
    text = line.replace("_", " ")
    if not text.endswith(_REFERENCE_QUERY):
        raise UserError(
            f"{place}: neither a JSON object nor a template of the reference implementation"
            ' (which ends in This_sentence_:_"*sent_0*"_means_in_one_word:")'
        )
    solved = text.removesuffix(_REFERENCE_QUERY)
    if not solved:
        return None
    match = _REFERENCE_DEMONSTRATION.fullmatch(solved)
    if match is None:
        raise UserError(f"{place}: the template does not hold exactly one demonstration")
    try:
        return Candidate(sentence=match[1], word=match[2], source=REFERENCE_SOURCE)
    except ValidationError as error:
        raise UserError(first_error(error, f"{place}: ", noun="field")) from error
