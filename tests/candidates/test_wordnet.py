from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nltk
import pytest

from demosearch.candidates import wordnet
from demosearch.candidates.dictionary import Entry, read_dictionary
from demosearch.candidates.wordnet import clean_gloss, read_headwords
from demosearch.errors import UserError

NOUNS = [
    ("venison", "04", 'meat from a deer; "venison was on the table"'),
    ("jockey", "18", "(sports) someone employed to ride horses in horse races"),
]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A WordNet of two nouns in the layout of a Linux package, without lexnames."""
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
    monkeypatch.setattr(wordnet, "SYSTEM_FOLDERS", (str(folder),))
    return folder


def test_wordnet_gives_the_first_sense_of_each_headword(installed: Path, tmp_path: Path) -> None:
    headwords = tmp_path / "words.tsv"
    headwords.write_text("# mine\nvenison\tnoun\trare\tfood\njockey\tnoun\nunheard\tnoun\n")
    source, entries = read_dictionary("wordnet", str(headwords))
    assert source == "wordnet"
    assert entries == [
        Entry("venison", "meat from a deer", "noun", "rare", "food"),
        Entry("jockey", "someone employed to ride horses in horse races", "noun"),
    ]


def test_the_error_for_missing_wordnet_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(wordnet, "SYSTEM_FOLDERS", ())
    with pytest.raises(UserError, match=r"apt-get install wordnet-base.*nltk\.downloader wordnet"):
        read_dictionary("wordnet")
    assert not wordnet.wordnet_is_installed()


def test_wordnet_is_downloaded_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded: list[str] = []

    class Reader:
        def ensure_loaded(self) -> None:
            if not downloaded:
                raise LookupError("wordnet")

    def download(name: str, **_: Any) -> bool:
        downloaded.append(name)
        return True

    reader = Reader()
    monkeypatch.setattr(wordnet, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr(nltk.corpus, "wordnet", reader)
    monkeypatch.setattr(nltk, "download", download)
    with pytest.raises(UserError, match="add --download"):
        wordnet.open_wordnet()
    assert not downloaded
    assert wordnet.open_wordnet(download=True) is reader
    assert downloaded == ["wordnet"]
    downloaded.clear()
    monkeypatch.setattr(nltk, "download", lambda *_, **__: False)
    with pytest.raises(UserError, match="could not be downloaded"):
        wordnet.open_wordnet(download=True)


def test_the_error_for_missing_nltk_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(UserError, match=r"requires .* pip install 'demosearch\[wordnet\]'"):
        read_dictionary("wordnet")
    assert not wordnet.wordnet_is_installed()


@pytest.mark.parametrize(
    ("gloss", "clean"),
    [
        ("meat from a deer", "meat from a deer"),
        ('(of food) hot; burning; "a hot meal"', "hot"),
        ("a kind of (very small) boat ", "a kind of boat"),
        ('called "the blues"', "called 'the blues'"),
    ],
)
def test_parentheses_and_examples_are_removed_from_glosses(gloss: str, clean: str) -> None:
    assert clean_gloss(gloss) == clean


def test_a_malformed_line_of_headwords_is_named(tmp_path: Path) -> None:
    assert len(read_headwords()) >= 700
    (tmp_path / "h.tsv").write_text("# comment\nrun\tverb\nwalk\n")
    with pytest.raises(
        UserError, match=r"h\.tsv, line 3: the part of speech must be one of noun.* but got ''"
    ):
        read_headwords(tmp_path / "h.tsv")


@pytest.mark.wordnet
def test_the_installed_wordnet_contains_nearly_all_headwords() -> None:
    source, entries = read_dictionary("wordnet")
    assert source == "wordnet"
    assert len(entries) > 0.98 * len(read_headwords())
    definitions = {(entry.word, entry.pos): entry.definition for entry in entries}
    assert definitions["person", "noun"] == "a human being"
    assert not [text for text in definitions.values() if set(text) & set('()";')]
