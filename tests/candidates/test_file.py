from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demosearch.candidates import Candidate, merge_candidates, read_candidates, write_candidates
from demosearch.errors import UserError

LINE = (
    'This_sentence_:_"A_jockey_riding_a_horse."_means_in_one_word:"Equestrian".'
    'This_sentence_:_"*sent_0*"_means_in_one_word:"'
)


def test_written_candidates_are_read_unchanged_and_pandas_reads_the_file(tmp_path: Path) -> None:
    candidates = [
        Candidate(sentence="A dog barks.", word="Dog", source="local:x", word_in_sentence=True),
        Candidate(sentence="naïve and 🙂.", word="Ü", pos="noun", score=0.5),
    ]
    write_candidates(tmp_path / "c.jsonl", candidates)
    assert read_candidates(tmp_path / "c.jsonl") == candidates
    frame = pd.read_json(tmp_path / "c.jsonl", lines=True)
    assert list(frame["word"]) == ["Dog", "Ü"]


def test_the_format_of_the_reference_implementation_is_read(tmp_path: Path) -> None:
    plain = 'This_sentence_:_"*sent_0*"_means_in_one_word:"'
    (tmp_path / "t.txt").write_text(f"{LINE}\n{plain}\n")
    (candidate,) = read_candidates(tmp_path / "t.txt")
    assert (candidate.sentence, candidate.word) == ("A jockey riding a horse.", "Equestrian")


CANDIDATES = [
    Candidate(sentence="A dog, barks.", word="Dog", source="wordnet", words=3, topic="animal"),
    Candidate(sentence="None", word="NA", word_in_sentence=False, agreement=0.5, note="mine"),
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_a_table_has_the_same_candidates_as_the_lines(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame([candidate.model_dump(exclude={"id"}) for candidate in CANDIDATES])
    path = tmp_path / f"c{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".jsonl":
        write_candidates(path, CANDIDATES)
    else:
        frame.to_csv(path, index=suffix == ".csv", sep="," if suffix == ".csv" else "\t")
    assert read_candidates(path) == CANDIDATES


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "sentence,word\nA dog.,Dog\nA cat.,\n", "line 3: word must"),
        ("c.csv", "sentence,word\nA dog.\n", "line 2: there is no field for column 'word'"),
        ("c.csv", "sentence,answer\nA dog.,Dog\n", "line 2: word is missing"),
        ("c.csv", "sentence,word,word\nA dog.,Dog,Cat\n", "line 1: the column 'word' occurs twice"),
        ("c.csv", "sentence,word\n", "contains no candidates"),
        (
            "c.csv",
            'sentence,word\n"A\ndog.",Dog\n',
            "line 2: sentence must not contain a line break",
        ),
        (
            "c.tsv",
            'sentence\tword\nHe said "no".\tNo\n',
            "line 2: sentence must not contain a double",
        ),
        ("c.tsv", "sentence\tword\tagreement\nA dog.\tDog\tmost\n", "line 2: agreement must be"),
        (
            "c.jsonl",
            '{"sentence": "a.", "word": "b", "word": "c"}\n',
            "line 1: the field 'word' occurs",
        ),
        ("c.parquet", "no", "as parquet"),
    ],
)
def test_a_malformed_row_of_a_table_is_named(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        read_candidates(tmp_path / name)
    assert message in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no candidates"),
        ('{"sentence": "a."}\n', "line 1: word is missing"),
        ('{"sentence": "a.", "word": "b"}\n{"sentence"\n', "line 2 is not JSON"),
        (
            '{"sentence": "a \\" b", "word": "b"}\n',
            "line 1: sentence must not contain a double quote",
        ),
        ('{"sentence": "a </s> b", "word": "b"}\n', "line 1: sentence must not contain </s>"),
        ('{"sentence": "a b", "word": "<|im_end|>"}\n', "line 1: word must not contain <|im_end|>"),
        ("just words\n", "line 1: must be a JSON object, or a template"),
        (LINE.replace("This", "X", 1) + "\n", "line 1: the template must contain exactly one"),
        ('{"sentence": 3, "word": "b"}\n', "line 1: sentence must be a string but got 3"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(UserError) as error:
        read_candidates(tmp_path / "c.jsonl")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text())
def test_any_other_text_is_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "c.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"c\.jsonl"):
        read_candidates(path)


def test_merged_files_keep_the_first_of_equal_pairs() -> None:
    dog = Candidate(sentence="A dog barks.", word="Dog", source="local:x")
    same = Candidate(sentence="A dog barks.", word="Dog", source="wordnet")
    cat = Candidate(sentence="A cat sleeps.", word="Cat")
    assert merge_candidates([[dog], [same, cat], []]) == [dog, cat]


def test_a_score_that_is_not_finite_is_missing_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "candidates.jsonl"
    # Version 0.1 wrote such numbers.
    path.write_text('{"sentence": "A cat.", "word": "Cat", "zipf": NaN, "mine": -Infinity}\n')
    (candidate,) = read_candidates(path)
    assert candidate.zipf is None
    write_candidates(path, [candidate])
    assert '"sentence": "A cat."' in path.read_text()
    assert not {"NaN", "Infinity"} & set(path.read_text().replace(",", " ").split())
    table = tmp_path / "candidates.csv"
    table.write_text("sentence,word,zipf\nA cat.,Cat,inf\n")
    with pytest.raises(UserError, match=r"line 2: zipf must be a finite number but got 'inf'"):
        read_candidates(table)
    # A word may be called like that.
    table.write_text("sentence,word\nA grandmother.,Nan\n")
    assert read_candidates(table)[0].word == "Nan"
