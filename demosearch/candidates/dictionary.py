"""Dictionary pairs: a definition as the sentence, its headword as the word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demosearch._common.resources import resource
from demosearch._common.tables import read_rows
from demosearch.candidates import wordnet
from demosearch.candidates.settings import STARTER, WORDNET
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError

_FILE_SOURCE = "dictionary"
_COLUMNS = {"word": ("word", "headword", "term"), "definition": ("definition", "gloss", "sentence")}


@dataclass(frozen=True, slots=True)
class Entry:
    """A headword and one of its definitions.

    Attributes:
        word: the headword.
        definition: its meaning, without parentheses and examples.
        pos: part of speech: noun, verb, adjective or adverb.
        band: frequency of the word: common, medium or rare.
        topic: topic of the definition, in the terms of the dictionary.
    """

    word: str
    definition: str
    pos: str | None = None
    band: str | None = None
    topic: str | None = None


def read_dictionary(
    name: str, headwords: str | None = None, *, download: bool = False
) -> tuple[str, list[Entry]]:
    """Return the source of a dictionary's pairs, and its entries.

    Args:
        name: `starter`, `wordnet`, or a file (CSV, TSV, JSONL, parquet) with the columns `word` and
            `definition` (or `headword`/`term` and `gloss`/`sentence`), and optionally `pos`.
        headwords: file of the headwords to look up in WordNet; None means the shipped list.
        download: download WordNet through NLTK if it is not installed.

    Raises:
        UserError: the dictionary is missing, or a row is malformed (named).
    """
    if name == STARTER:
        return STARTER, _read_file(resource("wordlists", "starter_dictionary.csv"))
    if name == WORDNET:
        words = wordnet.read_headwords(headwords)
        return WORDNET, [
            Entry(head.word, definition, head.pos, head.band, head.topic)
            for head, definition in wordnet.definitions(words, download=download)
        ]
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"the dictionary must be wordnet, starter, none or an existing file but got '{name}'"
        )
    return f"{_FILE_SOURCE}:{path.stem}", _read_file(path)


def is_dictionary_pair(demonstration: Demonstration) -> bool:
    """Whether a demonstration comes from a dictionary and is not a labeled sentence."""
    return demonstration.source.partition(":")[0] in (WORDNET, STARTER, _FILE_SOURCE)


def _read_file(path: Path) -> list[Entry]:
    entries = []
    for location, row in read_rows(path):
        word, definition = (_column(row, name, location) for name in _COLUMNS)
        pos = row.get("pos")
        entries.append(Entry(word, definition, pos if isinstance(pos, str) and pos else None))
    if not entries:
        raise UserError(f"dictionary {path} contains no entries")
    return entries


def _column(row: dict[str, Any], wanted: str, location: str) -> str:
    name = next((name for name in _COLUMNS[wanted] if name in row), None)
    if name is None:
        raise UserError(
            f"{location}: the column '{wanted}' is missing; the columns are"
            f" {', '.join(row) or 'none'}"
        )
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{location}: '{name}' must be a non-empty text")
    return value.strip()
