"""Dictionary pairs: a definition as the sentence, its headword as the word."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.files import read_text
from demosearch._common.resources import resource
from demosearch._common.tables import read_rows
from demosearch.candidates.settings import STARTER, WORDNET
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

logger = logging.getLogger(__name__)

# Where Debian, Fedora and Homebrew put WordNet's dict files.
SYSTEM_FOLDERS = (
    "/usr/share/wordnet",
    "/usr/share/wordnet-3.0/dict",
    "/usr/local/share/wordnet",
    "/opt/homebrew/opt/wordnet/dict",
)

_POS = {"noun": "n", "verb": "v", "adjective": "a", "adverb": "r"}
_COLUMNS = {"word": ("word", "headword", "term"), "definition": ("definition", "gloss", "sentence")}

# The names of WordNet's lexicographer files in the order of their numbers (lexnames(5WN)): NLTK reads
# them from a file that Debian's package leaves out.
_LEXICOGRAPHER_FILES = """
    adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute
    noun.body noun.cognition noun.communication noun.event noun.feeling noun.food noun.group
    noun.location noun.motive noun.object noun.person noun.phenomenon noun.plant noun.possession
    noun.process noun.quantity noun.relation noun.shape noun.state noun.substance noun.time
    verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption
    verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession
    verb.social verb.stative verb.weather adj.ppl
"""
_LEXICOGRAPHER_POS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}


@dataclass(frozen=True, slots=True)
class Entry:
    """A headword and one definition of it.

    Attributes:
        word: the headword.
        definition: what it means, cleaned.
        pos: noun, verb, adjective or adverb.
        band: how frequent the word is: common, medium or rare.
        topic: what it is about, as the dictionary has it.
    """

    word: str
    definition: str
    pos: str | None = None
    band: str | None = None
    topic: str | None = None


def read_dictionary(
    name: str, headwords: str | None = None, *, download: bool = False
) -> tuple[str, list[Entry]]:
    """Return the source name and the entries of a dictionary.

    Args:
        name: `starter`, `wordnet`, or a file (CSV, TSV, JSONL, parquet) with the columns `word` and
            `definition` (also `headword`/`term`, `gloss`/`sentence`), and `pos` if it has one.
        headwords: file of the words that WordNet is asked for; None is the shipped list.
        download: fetch WordNet through NLTK where it is not installed.

    Raises:
        UserError: it is not there, or a row is malformed (named).
    """
    if name == STARTER:
        return STARTER, _read_file(resource("wordlists", "starter_dictionary.csv"))
    if name == WORDNET:
        reader = open_wordnet(download=download)
        try:
            return WORDNET, list(_wordnet_entries(reader, read_headwords(headwords)))
        finally:
            _close(reader)
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"no dictionary '{name}': give wordnet, starter or a file")
    return f"dictionary:{path.stem}", _read_file(path)


@dataclass(frozen=True, slots=True)
class Headword:
    """A word that a dictionary is asked for."""

    word: str
    pos: str
    band: str | None = None
    topic: str | None = None


def read_headwords(path: str | Path | None = None) -> list[Headword]:
    """Read the words that WordNet is asked for: word, part of speech, and band and topic if given.

    Raises:
        UserError: a row has no known part of speech (file and row named).
    """
    place = Path(path) if path else resource("wordlists", "headwords.tsv")
    rows = []
    for number, line in enumerate(read_text(place, "headwords file").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        word, pos, band, topic, *_ = [*line.split("\t"), "", "", ""]
        if pos not in _POS:
            raise UserError(
                f"{place}, line {number}: part of speech {pos!r} is not one of {', '.join(_POS)}"
            )
        rows.append(Headword(word, pos, band or None, topic or None))
    if not rows:
        raise UserError(f"headwords file {place} holds no word")
    return rows


def wordnet_is_installed() -> bool:
    """Whether WordNet can be read here; found out without loading it."""
    try:
        import nltk
    except ImportError:
        return False
    if _system_folder() is not None:
        return True
    for name in ("corpora/wordnet.zip", "corpora/wordnet"):
        with suppress(LookupError):
            nltk.data.find(name)
            return True
    return False


def clean_gloss(gloss: str) -> str:
    """Return a definition without parentheses and later alternatives.

    >>> clean_gloss("(cooking) meat from a deer; often served roasted")
    'meat from a deer'
    """
    bare = re.sub(r"\([^()]*\)", " ", gloss).partition(";")[0]
    return " ".join(bare.replace('"', "'").split()).strip(" ,:")


def is_of_dictionary(one: Demonstration) -> bool:
    """Whether a demonstration is a dictionary pair, and not a labeled sentence."""
    return one.source.partition(":")[0] in (WORDNET, STARTER, "dictionary")


def _read_file(path: Path) -> list[Entry]:
    entries = []
    for place, row in read_rows(path):
        word, definition = (_column(row, wanted, place) for wanted in ("word", "definition"))
        pos = row.get("pos")
        entries.append(Entry(word, definition, pos if isinstance(pos, str) and pos else None))
    if not entries:
        raise UserError(f"dictionary {path} has no entries")
    return entries


def _column(row: dict[str, Any], wanted: str, place: str) -> str:
    name = next((name for name in _COLUMNS[wanted] if name in row), None)
    if name is None:
        raise UserError(f"{place}: no column '{wanted}'; found {', '.join(row) or 'none'}")
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: '{name}' is empty or no text")
    return value.strip()


def _wordnet_entries(reader: WordNetCorpusReader, headwords: Iterable[Headword]) -> Iterable[Entry]:
    """Yield each headword with its commonest sense; words WordNet does not have are passed over."""
    for head in headwords:
        synsets = reader.synsets(head.word, _POS[head.pos])
        if synsets and (definition := clean_gloss(synsets[0].definition())):
            yield Entry(head.word, definition, head.pos, head.band, head.topic)


def open_wordnet(*, download: bool = False) -> WordNetCorpusReader:
    """Return NLTK's reader over WordNet, from NLTK's data folder or the system's package.

    Args:
        download: fetch it into NLTK's data folder where it is in neither.

    Raises:
        UserError: NLTK or WordNet is not installed, the message says how to install it; or it could
            not be fetched.
    """
    try:
        import nltk
        from nltk.corpus import wordnet
        from nltk.corpus.reader.wordnet import WordNetCorpusReader
    except ImportError:
        raise UserError(
            "the wordnet dictionary needs NLTK; run: pip install 'demosearch[wordnet]'"
        ) from None
    try:
        wordnet.ensure_loaded()
    except LookupError:
        pass
    else:
        return wordnet
    folder = _system_folder()
    if folder is None and download:
        logger.info("fetching WordNet into NLTK's data folder")
        # It says by its answer whether that went well, and raises nothing.
        if not nltk.download("wordnet", quiet=True):
            raise UserError("WordNet could not be fetched: NLTK's server is out of reach")
        wordnet.ensure_loaded()
        return wordnet
    if folder is None:
        raise UserError(
            "WordNet is not installed; add --download, or run: apt-get install wordnet-base, or:"
            " python -m nltk.downloader wordnet"
        )
    root: str = folder
    # NLTK opens files only below the folders it was told of.
    if root not in nltk.data.path:
        nltk.data.path.append(root)

    class SystemWordNet(WordNetCorpusReader):  # type: ignore[misc]
        """WordNet's dict files as a Linux package lays them out, without NLTK's extra file."""

        def open(self, file: str) -> Any:
            if file == "lexnames" and not Path(root, file).is_file():
                return io.StringIO(_lexnames())
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """Map to no other version: that serves other languages, and wants NLTK's own copy."""

    with warnings.catch_warnings():
        # Only the multilingual functions are missing; definitions here are English.
        warnings.filterwarnings("ignore", message="The multilingual functions")
        return SystemWordNet(root, None)


def _close(reader: WordNetCorpusReader) -> None:
    """Close the files that NLTK's reader keeps open; it opens them again when asked again."""
    files: dict[str, Any] = getattr(reader, "_data_file_map", {})
    for file in files.values():
        file.close()
    files.clear()


def _system_folder() -> str | None:
    return next((place for place in SYSTEM_FOLDERS if Path(place, "data.noun").is_file()), None)


def _lexnames() -> str:
    rows = enumerate(_LEXICOGRAPHER_FILES.split())
    return "".join(
        f"{number:02d}\t{name}\t{_LEXICOGRAPHER_POS[name.partition('.')[0]]}\n"
        for number, name in rows
    )
