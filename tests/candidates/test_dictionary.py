from __future__ import annotations

import builtins
from collections import Counter
from pathlib import Path
from typing import Any

import nltk
import pytest

from demosearch.candidates import dictionary
from demosearch.candidates.curation import stands_in
from demosearch.candidates.dictionary import Entry, clean_gloss, read_dictionary
from demosearch.errors import UserError

NOUNS = [
    ("venison", "04", 'meat from a deer; "venison was on the table"'),
    ("jockey", "18", "(sports) someone employed to ride horses in horse races"),
]


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A WordNet of two nouns in the layout of a Linux package: no lexnames file."""
    folder = tmp_path / "wordnet"
    folder.mkdir()
    data, index = "", ""
    for word, lexicographer, gloss in NOUNS:
        offset = len(data)
        data += f"{offset:08d} {lexicographer} n 01 {word} 0 000 | {gloss}  \n"
        index += f"{word} n 1 0 1 1 {offset:08d}  \n"
    for kind in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{kind}").write_text(data if kind == "noun" else "")
        (folder / f"index.{kind}").write_text(index if kind == "noun" else "")
        (folder / f"{kind}.exc").write_text("")
    (folder / "cntlist.rev").write_text("")
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(dictionary, "SYSTEM_FOLDERS", (str(folder),))
    return folder


def test_wordnet_gives_the_first_sense_of_each_headword(wordnet: Path, tmp_path: Path) -> None:
    headwords = tmp_path / "words.tsv"
    headwords.write_text("# mine\nvenison\tnoun\trare\tfood\njockey\tnoun\nunheard\tnoun\n")
    source, entries = read_dictionary("wordnet", str(headwords))
    assert source == "wordnet"
    assert entries == [
        Entry("venison", "meat from a deer", "noun", "rare", "food"),
        Entry("jockey", "someone employed to ride horses in horse races", "noun"),
    ]


def test_missing_wordnet_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(dictionary, "SYSTEM_FOLDERS", ())
    with pytest.raises(UserError, match=r"apt-get install wordnet-base.*nltk\.downloader wordnet"):
        read_dictionary("wordnet")
    assert not dictionary.wordnet_is_installed()


def test_wordnet_is_fetched_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    class Reader:
        def ensure_loaded(self) -> None:
            if not fetched:
                raise LookupError("wordnet")

    def download(name: str, **_: Any) -> bool:
        fetched.append(name)
        return True

    reader = Reader()
    monkeypatch.setattr(dictionary, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr(nltk.corpus, "wordnet", reader)
    monkeypatch.setattr(nltk, "download", download)
    with pytest.raises(UserError, match="add --download"):
        dictionary.open_wordnet()
    assert not fetched
    assert dictionary.open_wordnet(download=True) is reader
    assert fetched == ["wordnet"]
    fetched.clear()
    monkeypatch.setattr(nltk, "download", lambda *_, **__: False)
    with pytest.raises(UserError, match="could not be fetched"):
        dictionary.open_wordnet(download=True)


def test_missing_nltk_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_nltk(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "nltk":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_nltk)
    with pytest.raises(UserError, match=r"pip install 'demosearch\[wordnet\]'"):
        read_dictionary("wordnet")


@pytest.mark.parametrize(
    ("gloss", "clean"),
    [
        ("meat from a deer", "meat from a deer"),
        ('(of food) hot; burning; "a hot meal"', "hot"),
        ("a kind of (very small) boat ", "a kind of boat"),
        ('called "the blues"', "called 'the blues'"),
    ],
)
def test_glosses_lose_parentheses_and_examples(gloss: str, clean: str) -> None:
    assert clean_gloss(gloss) == clean


def test_own_dictionary_by_any_usual_column_names(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("headword\tgloss\tpos\nVenison\tmeat from a deer\tnoun\n")
    source, entries = read_dictionary(str(tmp_path / "d.tsv"))
    assert source == "dictionary:d"
    assert entries == [Entry("Venison", "meat from a deer", "noun")]
    (tmp_path / "e.csv").write_text("word,meaning\nVenison,meat\n")
    with pytest.raises(
        UserError, match=r"e\.csv, line 2: no column 'definition'; found word, mean"
    ):
        read_dictionary(str(tmp_path / "e.csv"))
    with pytest.raises(UserError, match="give wordnet, starter or a file"):
        read_dictionary("oxford")


def test_starter_dictionary_is_large_varied_and_hides_its_words() -> None:
    source, entries = read_dictionary("starter")
    assert source == "starter"
    assert len(entries) >= 200
    assert len({entry.word for entry in entries}) == len(entries)
    counts = Counter(entry.pos for entry in entries)
    assert set(counts) == {"noun", "verb", "adjective", "adverb"}
    assert min(counts.values()) >= 20
    assert not [entry for entry in entries if stands_in(entry.word, entry.definition)]
    lengths = [len(entry.definition.split()) for entry in entries]
    assert min(lengths) <= 4
    assert max(lengths) >= 15


def test_headwords_name_a_malformed_line(tmp_path: Path) -> None:
    assert len(dictionary.read_headwords()) >= 700
    (tmp_path / "h.tsv").write_text("# comment\nrun\tverb\nwalk\n")
    with pytest.raises(UserError, match=r"h\.tsv, line 3: part of speech '' is not one of noun"):
        dictionary.read_headwords(tmp_path / "h.tsv")


@pytest.mark.wordnet
def test_the_real_wordnet_knows_nearly_all_headwords() -> None:
    source, entries = read_dictionary("wordnet")
    assert source == "wordnet"
    assert len(entries) > 0.98 * len(dictionary.read_headwords())
    definitions = {(entry.word, entry.pos): entry.definition for entry in entries}
    assert definitions["person", "noun"] == "a human being"
    assert not [text for text in definitions.values() if set(text) & set('()";')]
