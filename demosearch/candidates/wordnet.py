"""WordNet, read through NLTK: from NLTK's data folder, or from the system's package."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.extras import missing_extra
from demosearch._common.files import read_text
from demosearch._common.lines import split_lines
from demosearch._common.resources import resource
from demosearch.errors import UserError

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

logger = logging.getLogger(__name__)

# Where Debian, Fedora and Homebrew install WordNet's dict files.
SYSTEM_FOLDERS = (
    "/usr/share/wordnet",
    "/usr/share/wordnet-3.0/dict",
    "/usr/local/share/wordnet",
    "/opt/homebrew/opt/wordnet/dict",
)

_POS = {"noun": "n", "verb": "v", "adjective": "a", "adverb": "r"}

# The names of WordNet's lexicographer files in the order of their numbers (lexnames(5WN)). NLTK
# reads them from a file that Debian's package does not include.
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
class Headword:
    """A word to look up.

    Attributes:
        word: the headword.
        pos: part of speech: noun, verb, adjective or adverb.
        band: frequency of the word: common, medium or rare.
        topic: topic of its most frequent sense.
    """

    word: str
    pos: str
    band: str | None = None
    topic: str | None = None


def read_headwords(path: str | Path | None = None) -> list[Headword]:
    """Read headwords: word, part of speech and, optionally, band and topic, separated by tabs.

    Args:
        path: the file; None means the list that ships with demosearch.

    Raises:
        UserError: the file is not readable, or a part of speech is unknown (file and line named).
    """
    path = Path(path) if path else resource("wordlists", "headwords.tsv")
    headwords = []
    lines = split_lines(read_text(path, "headwords file"))
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        word, pos, band, topic, *_ = [*line.split("\t"), "", "", ""]
        if pos not in _POS:
            raise UserError(
                f"{path}, line {number}: the part of speech must be one of {', '.join(_POS)} but"
                f" got '{pos}'"
            )
        headwords.append(Headword(word, pos, band or None, topic or None))
    if not headwords:
        raise UserError(f"headwords file {path} contains no words")
    return headwords


def definitions(
    headwords: Iterable[Headword], *, download: bool = False
) -> Iterator[tuple[Headword, str]]:
    """Yield each headword with its most frequent sense. Words that are not in WordNet are skipped.

    Args:
        headwords: the words to look up.
        download: download WordNet through NLTK if it is not installed.

    Raises:
        UserError: NLTK or WordNet is not installed, or the download failed.
    """
    reader = open_wordnet(download=download)
    try:
        for head in headwords:
            synsets = reader.synsets(head.word, _POS[head.pos])
            if synsets and (definition := clean_gloss(synsets[0].definition())):
                yield head, definition
    finally:
        _close(reader)


def clean_gloss(gloss: str) -> str:
    """Return a definition without parentheses, alternatives and examples.

    >>> clean_gloss("(cooking) meat from a deer; often served roasted")
    'meat from a deer'
    """
    bare = re.sub(r"\([^()]*\)", " ", gloss).partition(";")[0]
    return " ".join(bare.replace('"', "'").split()).strip(" ,:")


def wordnet_is_installed() -> bool:
    """Whether WordNet is available. It is not loaded to find out."""
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


def open_wordnet(*, download: bool = False) -> WordNetCorpusReader:
    """Return NLTK's reader of WordNet, from NLTK's data folder or the system's package.

    Args:
        download: download WordNet into NLTK's data folder if it is in neither.

    Raises:
        UserError: NLTK or WordNet is not installed, or the download failed.
    """
    try:
        import nltk
        from nltk.corpus import wordnet
    except ImportError:
        raise missing_extra("the wordnet dictionary", "wordnet") from None
    try:
        wordnet.ensure_loaded()
    except LookupError:
        folder = _system_folder()
    else:
        return wordnet
    if folder is not None:
        return _system_wordnet(folder)
    if not download:
        raise UserError(
            "WordNet is not installed; add --download (candidates.download in a pipeline), or run:"
            " apt-get install wordnet-base, or: python -m nltk.downloader wordnet"
        )
    logger.info("downloading WordNet into NLTK's data folder")
    # The function returns False on failure, and raises nothing.
    if not nltk.download("wordnet", quiet=True):
        raise UserError(
            "WordNet could not be downloaded because NLTK's server is not reachable; run: apt-get"
            " install wordnet-base"
        )
    wordnet.ensure_loaded()
    return wordnet


def _system_folder() -> str | None:
    return next((path for path in SYSTEM_FOLDERS if Path(path, "data.noun").is_file()), None)


def _system_wordnet(folder: str) -> WordNetCorpusReader:
    """Return a reader of WordNet's dict files as a Linux package installs them."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    # NLTK opens files only in folders of its search path.
    if folder not in nltk.data.path:
        nltk.data.path.append(folder)

    class SystemWordNet(WordNetCorpusReader):  # type: ignore[misc]
        """WordNet without the file of NLTK's own copy that the packages do not include."""

        def open(self, file: str) -> Any:
            if file == "lexnames" and not Path(folder, file).is_file():
                return io.StringIO(_lexnames())
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """Map to no other version: that serves other languages and requires NLTK's own copy."""

    with warnings.catch_warnings():
        # Only the multilingual functions are missing, and the definitions are English.
        warnings.filterwarnings("ignore", message="The multilingual functions")
        return SystemWordNet(folder, None)


def _close(reader: WordNetCorpusReader) -> None:
    """Close the files that NLTK's reader keeps open. It opens them again when it is used again."""
    files: dict[str, Any] = getattr(reader, "_data_file_map", {})
    for file in files.values():
        file.close()
    files.clear()


def _lexnames() -> str:
    rows = enumerate(_LEXICOGRAPHER_FILES.split())
    return "".join(
        f"{number:02d}\t{name}\t{_LEXICOGRAPHER_POS[name.partition('.')[0]]}\n"
        for number, name in rows
    )
