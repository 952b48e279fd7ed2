from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from demosearch.datasets import Split, evaluation_sentences, read_pairs, read_sets
from demosearch.datasets.sources import check_columns
from demosearch.errors import UserError
from tests.fakes import write_fake_pairs

ROWS = [(f"first {row}", f'second "{row}", quoted', row % 6) for row in range(12)]


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=["sentence1", "sentence2", "score"])


def write(path: Path, frame: pd.DataFrame) -> Path:
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }[path.suffix]()
    return path


def test_every_file_format_gives_the_same_pairs(tmp_path: Path, frame: pd.DataFrame) -> None:
    hashes = set()
    for ending in ("csv", "tsv", "jsonl", "parquet"):
        pairs = read_pairs(str(write(tmp_path / f"p.{ending}", frame)), Split.DEV)
        assert pairs.sentences2[3] == 'second "3", quoted'
        assert pairs.scores[:7] == (0, 1, 2, 3, 4, 5, 0)
        hashes.add(pairs.sha256)
    assert len(hashes) == 1


def test_extra_columns_are_ignored(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = write(tmp_path / "p.csv", frame.assign(genre="news"))
    assert len(read_pairs(str(path), Split.DEV)) == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sentence1,sentence2\na,b\n",
            "p.csv, line 2: the columns must include sentence1, sentence2, score",
        ),
        (
            "sentence1,sentence2,score\na,b,high\n",
            "p.csv, line 2: the score must be a number but got 'high'",
        ),
        (
            "sentence1,sentence2,score\na,b,1\na,b\n",
            "p.csv, line 3: there is no field for column 'score'",
        ),
        ("sentence1,sentence2,score\na,b,c,1\n", "p.csv, line 2: more fields than columns"),
        (
            "sentence1,sentence2,score\n ,b,1\n",
            "p.csv, line 2: 'sentence1' must be a non-empty text but got ' '",
        ),
        ("sentence1,sentence2,score\na,b,nan\n", "the score of pair 1 must be finite but got nan"),
        ("sentence1,sentence2,score\na,b,1\n", "the number of pairs must be at least 10 but got 1"),
        (
            "sentence1,sentence2,score\n" + "a,b,3\n" * 12,
            "the scores must differ, because they are ranked, but all are 3",
        ),
        ("", "the number of pairs must be at least 10 but got 0"),
        ('sentence1,sentence2,score\n"a,b,1\n', "p.csv, line"),
    ],
)
def test_an_error_names_the_malformed_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError) as error:
        read_pairs(str(tmp_path / "p.csv"), Split.DEV)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


GLUE = ["index\tgenre\tsentence1\tsentence2\tscore"] + [
    f"{row}\tnews\tThe train is late.\t{second}\t{row}.000"
    for row, second in enumerate(
        [*(f"Train {row} is late." for row in range(10)), '"It is late.', "A cat.", 'She said."']
    )
]


def test_a_file_of_glue_has_a_pair_on_every_line(tmp_path: Path) -> None:
    content = "\n".join(GLUE)
    (tmp_path / "p.tsv").write_text(content)
    rows = list(csv.DictReader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE))
    pairs = read_pairs(str(tmp_path / "p.tsv"), Split.DEV)
    assert list(pairs.sentences2) == [row["sentence2"] for row in rows]
    assert list(pairs.scores) == [float(row["score"]) for row in rows]
    assert len(pairs) == 13


def test_columns_can_be_named(tmp_path: Path, frame: pd.DataFrame) -> None:
    expected = read_pairs(str(write(tmp_path / "p.csv", frame)), Split.DEV)
    other = frame.set_axis(["premise", "hypothesis", "label"], axis=1).assign(score=9)
    for ending in ("csv", "tsv", "jsonl", "parquet"):
        path = str(write(tmp_path / f"p.{ending}", other))
        for columns in ("premise, hypothesis,label", ["premise", "hypothesis", "label"]):
            assert read_pairs(path, Split.DEV, columns=columns) == expected
        assert read_sets(path, Split.DEV, columns="premise,hypothesis,label") == expected
        swapped = read_pairs(path, Split.DEV, columns=("hypothesis", "premise", "label"))
        assert swapped.sentences1 == expected.sentences2
    write(tmp_path / "dev.csv", other)
    assert (
        read_pairs(str(tmp_path), Split.DEV, columns="premise,hypothesis,label").sha256
        == expected.sha256
    )
    starter = read_pairs("starter", Split.DEV)
    assert read_pairs("starter", Split.DEV, columns="premise,hypothesis,label") == starter


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("a,b", "three different names, e.g. sentence1,sentence2,label, but got 'a,b'"),
        ("a,b,", "three different names"),
        (["a", "b", "a"], "three different names"),
        (
            "sentence1,sentence2,label",
            "the columns must include sentence1, sentence2, label but got",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    tmp_path: Path, frame: pd.DataFrame, columns: str | list[str], message: str
) -> None:
    path = write(tmp_path / "p.csv", frame)
    with pytest.raises(UserError, match=message):
        read_pairs(str(path), Split.DEV, columns=columns)


def test_columns_of_sets_that_have_fixed_ones_are_refused(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    path = str(write(tmp_path / "p.csv", frame))
    check_columns("a,b,c", ["stsb", f"starter,{path}"])
    check_columns(None, ["stsb"])
    senteval = tmp_path / "sts-dev.csv"
    senteval.write_text("main-news\tset\t2012\t0\t1.0\ta\tb\n")
    for sources in (["stsb", "starter"], [str(senteval)], []):
        with pytest.raises(UserError, match="columns name those of a file of pairs, but"):
            check_columns("a,b,c", sources)


def test_a_malformed_test_file_is_not_left_out_of_the_evaluation_sentences(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    write(tmp_path / "dev.csv", frame)
    assert len(evaluation_sentences(str(tmp_path))) == 24
    (tmp_path / "test.csv").write_text("sentence1,sentence2,score\na,b\n")
    with pytest.raises(UserError, match=r"test\.csv, line 2: there is no field"):
        evaluation_sentences(str(tmp_path))


def test_an_error_names_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"sentence1,sentence2,score\na\xff,b,1\n")
    with pytest.raises(UserError, match=r"p\.csv is not UTF-8"):
        read_pairs(str(tmp_path / "p.csv"), Split.DEV)


def test_an_error_names_broken_parquet_and_json(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "p.jsonl").write_text('{"sentence1": "a"\n')
    with pytest.raises(UserError, match=r"p\.parquet as parquet"):
        read_pairs(str(tmp_path / "p.parquet"), Split.DEV)
    with pytest.raises(UserError, match=r"p\.jsonl, line 1 is not JSON"):
        read_pairs(str(tmp_path / "p.jsonl"), Split.DEV)


def test_an_error_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be stsb, starter, or an existing file or folder"):
        read_pairs(str(tmp_path / "none.csv"), Split.DEV)
    with pytest.raises(UserError, match=r"must contain dev.csv or STS/STSBenchmark/sts-dev.csv"):
        read_pairs(str(tmp_path), Split.DEV)
    (tmp_path / "p.doc").write_text("x")
    with pytest.raises(UserError, match=r"the suffix must be one of \.csv.* but got '\.doc'"):
        read_pairs(str(tmp_path / "p.doc"), Split.DEV)


def test_a_folder_contains_a_file_for_each_split(tmp_path: Path) -> None:
    dev = write_fake_pairs(tmp_path / "dev.csv", 20)
    write_fake_pairs(tmp_path / "test.csv", 12)
    assert read_pairs(str(tmp_path), Split.DEV) == read_pairs(str(dev), Split.DEV)
    assert len(read_pairs(str(tmp_path), Split.TEST)) == 12
    # In a folder of this name it is STS-B, under any path.
    (tmp_path / "stsb").mkdir()
    inner = write_fake_pairs(tmp_path / "stsb" / "dev.csv", 15)
    for source, data in [(inner, None), (Path(inner).parent, None), ("stsb", str(tmp_path))]:
        pairs = read_pairs(str(source), Split.DEV, data)
        assert (pairs.name, len(pairs)) == ("stsb-dev", 15)


def test_stsb_offline_asks_for_a_folder() -> None:
    with pytest.raises(UserError, match=r"set --data or DEMOSEARCH_DATA to a folder"):
        read_pairs("stsb", Split.DEV)


def test_the_starter_set_has_every_grade_and_no_pair_twice() -> None:
    pairs = read_pairs("starter", Split.DEV)
    assert len(pairs) >= 300
    assert all(0 <= score <= 5 for score in pairs.scores)
    grades = Counter(round(score) for score in pairs.scores)
    assert sorted(grades) == [0, 1, 2, 3, 4, 5]
    assert min(grades.values()) >= 45, grades
    assert len(set(zip(pairs.sentences1, pairs.sentences2, strict=True))) == len(pairs)
    assert all(
        first != second for first, second in zip(pairs.sentences1, pairs.sentences2, strict=True)
    )
    with pytest.raises(UserError, match="only development pairs"):
        read_pairs("starter", Split.TEST)


@pytest.mark.data
def test_stsb_has_the_same_scores_in_both_layouts(data: Path) -> None:
    ours = read_pairs("stsb", Split.DEV, str(data))
    senteval = read_pairs(str(data / "senteval"), Split.DEV)
    assert len(ours) == len(senteval) == 1500
    assert ours.scores == senteval.scores
    assert ours.sentences1[0] == "A man with a hard hat is dancing."
    assert senteval.sentences1[0] == "a man with a hard hat is dancing ."
    assert len(read_pairs("stsb", Split.TEST, str(data))) == 1379
    file = data / "senteval/STS/STSBenchmark/sts-dev.csv"
    assert read_pairs(str(file), Split.DEV).sha256 == senteval.sha256


@pytest.mark.data
def test_the_starter_set_and_stsb_share_no_sentence(data: Path) -> None:
    starter = {text.lower() for text in read_pairs("starter", Split.DEV).sentences()}
    for split in Split:
        stsb = {text.lower() for text in read_pairs("stsb", split, str(data)).sentences()}
        assert not starter & stsb, split


def test_several_sets_are_joined_into_one_value(tmp_path: Path, frame: pd.DataFrame) -> None:
    one, two = write(tmp_path / "one.csv", frame), write(tmp_path / "two.tsv", frame.iloc[:11])
    pairs = read_sets(f"{one}, {two}", Split.DEV)
    assert (pairs.name, pairs.set_sizes) == ("one+two", (12, 11))
    assert [part.sha256 for part in pairs.sets] == [
        read_pairs(str(path), Split.DEV).sha256 for path in (one, two)
    ]
    with_comma = write(tmp_path / "a,b.csv", frame)
    assert read_sets(str(with_comma), Split.DEV).name == "a,b"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("starter,", "must be names separated by commas but got 'starter,'"),
        ("", "must be names separated by commas but got ''"),
        ("starter,starter", "sets of pairs must be different but got 'starter,starter'"),
        ("starter,nothing.csv", "existing file or folder but got 'nothing.csv'"),
    ],
)
def test_an_invalid_list_of_sets_is_refused(sources: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_sets(sources, Split.DEV)


def test_the_evaluation_sentences_include_the_test_set(tmp_path: Path, frame: pd.DataFrame) -> None:
    (tmp_path / "stsb").mkdir()
    for name in ("dev", "test"):
        write(
            tmp_path / "stsb" / f"{name}.csv", frame.assign(sentence1=f"{name} " + frame.sentence1)
        )
    sentences = evaluation_sentences("stsb", str(tmp_path))
    assert {"dev first 0", "test first 0"} <= set(sentences)
    assert evaluation_sentences("starter") == read_pairs("starter", Split.DEV).sentences()
