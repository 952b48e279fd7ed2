from __future__ import annotations

from pathlib import Path

import pytest

from demosearch.datasets import senteval
from demosearch.errors import UserError
from demosearch.evaluation import find_tasks, read_tasks
from tests.datasets.transfer import write_mrpc, write_sst, write_trec


def test_pairs_without_gold_score_are_skipped(tmp_path: Path) -> None:
    place = tmp_path / "STS" / "STS12-en-test"
    place.mkdir(parents=True)
    (place / "STS.input.x.txt").write_text("a\tb\nc\td\ne\tf\n")
    (place / "STS.gs.x.txt").write_text("1.5\n\n3\n")
    pairs = senteval.read_sts_subset(tmp_path, "STS12", "x")
    assert pairs.sentences1 == ("a", "e")
    assert pairs.scores == (1.5, 3.0)
    (place / "STS.gs.x.txt").write_text("1.5\n")
    with pytest.raises(UserError, match="the number of scores must be 3 but got 1"):
        senteval.read_sts_subset(tmp_path, "STS12", "x")


def test_an_error_names_the_malformed_line_of_stsb(tmp_path: Path) -> None:
    path = tmp_path / "sts-dev.csv"
    path.write_text("main-news\tx\t2012\t1\tbad\ta\tb\n")
    with pytest.raises(UserError, match=r"line 1: the score must be a number but got 'bad'"):
        senteval.read_stsb(path, "x")
    path.write_text("main-news\tx\n")
    with pytest.raises(
        UserError, match="line 1: the number of fields must be at least 7 but got 2"
    ):
        senteval.read_stsb(path, "x")


@pytest.mark.data
def test_the_real_data_have_the_published_sizes(data: Path) -> None:
    root = data / "senteval"
    sizes = {
        year: sum(
            len(senteval.read_sts_subset(root, year, subset))
            for subset in senteval.STS_SUBSETS[year]
        )
        for year in senteval.STS_SUBSETS
    }
    assert sizes == {"STS12": 3108, "STS13": 1500, "STS14": 3750, "STS15": 3000, "STS16": 1186}
    assert not any(senteval.missing_sts_files(root, year) for year in senteval.STS_SUBSETS)
    sick = senteval.read_sick(root)
    assert sick is not None
    assert len(sick) == 4927
    assert not any("\r" in text for text in sick.sentences())


def test_opposites_are_sorted_as_in_senteval(tmp_path: Path) -> None:
    (tmp_path / "CR").mkdir()
    (tmp_path / "CR" / "custrev.neg").write_text("bad  thing here\n\nbad\n" + "so bad it is\n" * 5)
    (tmp_path / "CR" / "custrev.pos").write_text("good\n good thing\n")
    task = senteval.read_opposites(tmp_path, "CR", ["custrev.neg", "custrev.pos"])
    assert task is not None
    assert task.train.texts[:5] == ("", "bad", "good", "good thing", "bad thing here")
    assert task.train.labels[:5] == (0, 0, 1, 1, 0)
    assert task.train.texts[5:] == ("so bad it is",) * 5
    assert task.classes == 2
    assert task.test is None
    assert senteval.read_opposites(tmp_path, "MR", ["a", "b"]) is None


@pytest.mark.parametrize(
    ("negative", "positive", "message"),
    [
        ("bad\n" * 4, "good\n" * 5, "CR: the number of examples must be at least 10 but got 9"),
        ("bad\n" * 12, "", "CR: the examples must have at least two classes"),
    ],
)
def test_a_task_that_cannot_train_a_classifier_is_refused(
    tmp_path: Path, negative: str, positive: str, message: str
) -> None:
    (tmp_path / "CR").mkdir()
    (tmp_path / "CR" / "custrev.neg").write_text(negative)
    (tmp_path / "CR" / "custrev.pos").write_text(positive)
    with pytest.raises(UserError, match=message):
        senteval.read_opposites(tmp_path, "CR", ["custrev.neg", "custrev.pos"])


def test_trec_is_read_as_latin_1_with_coarse_types(tmp_path: Path) -> None:
    write_trec(tmp_path)
    task = senteval.read_trec(tmp_path)
    assert task is not None
    assert task.test is not None
    assert task.train.texts[task.train.labels.index(4)] == "Where lies caf\xe9 0 ?"
    assert set(task.train.labels) == {3, 4}
    (tmp_path / "TREC" / "TREC_10.label").write_text("WHAT:is this\n")
    with pytest.raises(
        UserError,
        match=r"TREC_10.label, line 1: the question type must be one of ABBR, DESC, .* but got 'WHAT'",
    ):
        senteval.read_trec(tmp_path)


def test_mrpc_has_pairs_of_texts(tmp_path: Path) -> None:
    write_mrpc(tmp_path)
    task = senteval.read_mrpc(tmp_path)
    assert task is not None
    assert task.test is not None
    assert task.test.others is not None
    assert (len(task.train), len(task.test)) == (40, 12)
    equal = [
        first == second for first, second in zip(task.test.texts, task.test.others, strict=True)
    ]
    assert equal == [label == 1 for label in task.test.labels]
    (tmp_path / "MRPC" / "msr_paraphrase_test.txt").write_text("header\n2\t1\t1\ta\tb\n")
    with pytest.raises(
        UserError, match=r"line 2: the fields must be label \(0 or 1\), id, id, text and text"
    ):
        senteval.read_mrpc(tmp_path)


def test_sst_has_a_dev_set(tmp_path: Path) -> None:
    write_sst(tmp_path)
    task = senteval.read_sst(tmp_path)
    assert task is not None
    assert [len(part) for part in task.parts] == [40, 12, 12]
    assert task.train.labels[0] == 0
    (tmp_path / "SST" / "binary" / "sentiment-dev").write_text("no label\n")
    with pytest.raises(
        UserError, match="sentiment-dev, line 1: the label must be 0 or 1 but got 'no label'"
    ):
        senteval.read_sst(tmp_path)


@pytest.mark.data
def test_real_transfer_tasks_have_the_published_sizes(data: Path) -> None:
    found = read_tasks(find_tasks("transfer"), data)
    sizes = {name: [len(part) for part in task.parts] for name, task in found.items()}  # type: ignore[union-attr]
    assert sizes == {
        "mr": [10662],
        "cr": [3775],
        "subj": [10000],
        "mpqa": [10606],
        "sst2": [67349, 872, 1821],
        "trec": [5452, 500],
        "mrpc": [4076, 1725],
    }
    classes = {name: task.classes for name, task in found.items()}  # type: ignore[union-attr]
    assert classes == {**dict.fromkeys(found, 2), "trec": 6}
