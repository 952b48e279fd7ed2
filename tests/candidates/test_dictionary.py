from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from demosearch.candidates.dictionary import Entry, read_dictionary
from demosearch.candidates.occurrence import occurs_in
from demosearch.errors import UserError


def test_a_file_is_read_by_any_usual_column_names(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("headword\tgloss\tpos\nVenison\tmeat from a deer\tnoun\n")
    source, entries = read_dictionary(str(tmp_path / "d.tsv"))
    assert source == "dictionary:d"
    assert entries == [Entry("Venison", "meat from a deer", "noun")]
    (tmp_path / "e.csv").write_text("word,meaning\nVenison,meat\n")
    with pytest.raises(
        UserError, match=r"e\.csv, line 2: the column 'definition' is missing; .* word, mean"
    ):
        read_dictionary(str(tmp_path / "e.csv"))
    with pytest.raises(UserError, match=r"the dictionary must be .* but got 'oxford'"):
        read_dictionary("oxford")


def test_the_starter_dictionary_is_varied_and_no_definition_contains_its_word() -> None:
    source, entries = read_dictionary("starter")
    assert source == "starter"
    assert len(entries) >= 200
    assert len({entry.word for entry in entries}) == len(entries)
    counts = Counter(entry.pos for entry in entries)
    assert set(counts) == {"noun", "verb", "adjective", "adverb"}
    assert min(counts.values()) >= 20
    assert not [entry for entry in entries if occurs_in(entry.word, entry.definition)]
    lengths = [len(entry.definition.split()) for entry in entries]
    assert min(lengths) <= 4
    assert max(lengths) >= 15
