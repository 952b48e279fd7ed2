from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from demosearch import Embedder, Encoder
from demosearch.datasets.senteval import STS_SUBSETS
from demosearch.errors import UserError
from demosearch.evaluation import (
    TASKS,
    Classifier,
    evaluate,
    find_tasks,
    gain_on,
    read_tasks,
    scoring,
)
from demosearch.evaluation.baselines import open_baseline
from demosearch.prompt import Prompt
from tests.datasets.transfer import write_mrpc, write_opposites, write_sst, write_trec
from tests.examples import JOCKEY
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.tiny import save_tiny_encoder


@pytest.fixture
def senteval(tmp_path: Path) -> Path:
    place = tmp_path / "STS" / "STS12-en-test"
    place.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for subset in STS_SUBSETS["STS12"]:
        rows = [f"{subset} cat number {row}\ta dog {row % 4}" for row in range(15)]
        (place / f"STS.input.{subset}.txt").write_text("\n".join(rows) + "\n")
        golds = [f"{score:.1f}" for score in generator.uniform(0, 5, 15)]
        golds[3] = ""
        (place / f"STS.gs.{subset}.txt").write_text("\n".join(golds) + "\n")
    return tmp_path


class Known:
    """What an embedder has made of some texts."""

    def __init__(self, embedder: Embedder, states: dict[str, NDArray[np.float32]]) -> None:
        self.arithmetic = embedder.arithmetic
        self.describe = embedder.describe
        self._states = states

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._states[text] for text in sentences])


def test_score_is_spearman_over_all_subsets_together(
    senteval: Path, tiny: Callable[[str], Path]
) -> None:
    tasks = find_tasks("sts12")
    data = read_tasks(tasks, senteval)
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    embedder = Embedder(encoder, [Prompt(demonstrations=(JOCKEY,))])
    # The same embeddings for both sides.
    texts = [text for pairs in data["sts12"] for text in pairs.sentences()]
    states = dict(zip(texts, embedder.encode(texts), strict=True))
    result = evaluate(Known(embedder, states), data, tasks=tasks).result
    cosines, golds, by_subset = [], [], {}
    for pairs in data["sts12"]:
        begin = len(golds)
        for first, second, gold in zip(
            pairs.sentences1, pairs.sentences2, pairs.scores, strict=True
        ):
            one, two = states[first].astype(float), states[second].astype(float)
            cosines.append(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
            golds.append(gold)
        by_subset[pairs.name] = [
            100 * measure(cosines[begin:], golds[begin:]).statistic
            for measure in (stats.spearmanr, stats.pearsonr)
        ]
    task = result.tasks["sts12"]
    assert task.pairs == 70
    assert task.score == pytest.approx(100 * stats.spearmanr(cosines, golds).statistic, abs=0.01)
    assert task.other["pearson"] == pytest.approx(
        100 * stats.pearsonr(cosines, golds).statistic, abs=0.01
    )
    assert list(task.subsets) == [f"STS12.{name}" for name in STS_SUBSETS["STS12"]]
    ranked, linear = zip(*by_subset.values(), strict=True)
    assert list(task.subsets.values()) == pytest.approx(ranked, abs=0.01)
    assert task.other["spearman_mean"] == pytest.approx(np.mean(ranked), abs=0.01)
    assert task.other["pearson_weighted_mean"] == pytest.approx(np.mean(linear), abs=0.01)
    assert result.average == {}
    assert result.system.prompts[0].demonstrations == [JOCKEY]
    assert result.system.prompts[0].layer == 3


class FakeSystem:
    """Hashes words into a vector, and counts what it is asked."""

    arithmetic = "cpu, float32"

    def __init__(self, name: str = "fake", fail_after: int | None = None) -> None:
        self.name = name
        self.asked: list[str] = []
        self.fail_after = fail_after

    def describe(self) -> dict[str, Any]:
        return {
            "model": {"name": self.name, "source": "", "revision": "", "precision": "fp32"},
            "adapter": None,
            "prompts": [],
        }

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += sentences
        rows = np.zeros((len(sentences), 64), dtype=np.float32)
        for row, text in zip(rows, sentences, strict=True):
            for word in text.split():
                row[zlib.crc32(word.encode()) % 64] += 20
        return rows


@pytest.fixture
def transfer(tmp_path: Path) -> Path:
    write_opposites(tmp_path, "CR", "custrev.neg", "custrev.pos")
    write_trec(tmp_path)
    write_mrpc(tmp_path)
    write_sst(tmp_path)
    return tmp_path


@pytest.mark.parametrize("classifier", list(Classifier))
def test_transfer_tasks_are_classified(transfer: Path, classifier: Classifier) -> None:
    tasks = find_tasks("transfer")
    data = read_tasks(tasks, transfer)
    found = evaluate(FakeSystem(), data, tasks=tasks, classifier=classifier)
    assert {name: task.examples for name, task in found.result.tasks.items()} == {
        "cr": 80, "sst2": 12, "trec": 10, "mrpc": 12,
    }  # fmt: skip
    for name, task in found.result.tasks.items():
        # SentEval's classifier stops by a twentieth of the examples: here two.
        assert task.score > 90 or classifier is Classifier.SENTEVAL, name
        assert task.score == pytest.approx(100 * found.details[name].values.mean())
        assert task.classifier == classifier
    mrpc, tested = found.details["mrpc"].values.astype(bool), data["mrpc"].test
    gold = np.array(tested.labels, dtype=bool)
    expected = 200 * (mrpc & gold).sum() / (2 * (mrpc & gold).sum() + (~mrpc).sum())
    assert found.result.tasks["mrpc"].other["f1"] == pytest.approx(expected)
    assert found.result.missing == ["mr", "subj", "mpqa"]


def test_an_evaluation_that_was_killed_goes_on(
    transfer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "CHUNK", 16)
    tasks = find_tasks("cr")
    data = read_tasks(tasks, transfer)
    killed = FakeSystem(fail_after=32)
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        evaluate(killed, data, tasks=tasks, cache=cache)
    again = FakeSystem()
    found = evaluate(again, data, tasks=tasks, cache=cache)
    assert len(killed.asked) == 32
    assert not set(killed.asked) & set(again.asked)
    assert found.result.sentences_encoded == len(again.asked)
    whole = evaluate(FakeSystem(), data, tasks=tasks)
    assert found.result.tasks == whole.result.tasks


def test_another_task_or_the_same_again_pays_for_nothing_twice(
    transfer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    tasks = find_tasks("cr,trec")
    data = read_tasks(tasks, transfer)
    first = evaluate(FakeSystem(), data, tasks=tasks, cache=cache)
    monkeypatch.setattr(scoring, "_probe", lambda *_: pytest.fail("classified again"))
    second = evaluate(FakeSystem(), data, tasks=tasks, cache=cache)
    assert second.result.sentences_encoded == 0
    assert second.result.tasks == first.result.tasks
    # Another system has nothing to do with it.
    other = FakeSystem("other")
    sts = find_tasks("trec")
    monkeypatch.undo()
    evaluate(other, read_tasks(sts, transfer), tasks=sts, cache=cache)
    assert len(other.asked) == 40


def test_missing_tasks_are_named(senteval: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read_tasks(find_tasks("sts"), senteval)
    assert list(data) == ["sts12"]
    assert "STS13 is left out" in caplog.text
    assert "its data is not there: " in caplog.text
    assert "STSBenchmark/sts-test.csv" in caplog.text
    with pytest.raises(UserError, match="give the SentEval data folder by --data or DEMOSEARCH"):
        read_tasks(find_tasks("sts13"), None)
    with pytest.raises(UserError, match="has none of the tasks' data: STS/STS13-en-test"):
        read_tasks(find_tasks("sts13"), senteval)
    with pytest.raises(UserError, match="no such folder"):
        read_tasks(find_tasks("sts"), senteval / "none")


def test_task_names() -> None:
    assert [task.name for task in find_tasks("STS")] == [
        "sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr",
    ]  # fmt: skip
    assert [task.name for task in find_tasks("sickr,stsb-dev,sickr")] == ["sickr", "stsb-dev"]
    assert [task.name for task in find_tasks("transfer")] == [
        "mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc",
    ]  # fmt: skip
    assert len(find_tasks("full")) == len(TASKS) - 1 == 14
    with pytest.raises(UserError, match="unknown task 'glue'; known: sts, transfer, full, sts12"):
        find_tasks("glue")


def test_pairs_of_the_users_own_are_a_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    rows = [f"one {row},two {row},{row % 5}" for row in range(12)]
    path.write_text("sentence1,sentence2,score\n" + "\n".join(rows) + "\n")
    tasks = find_tasks(str(path))
    result = evaluate(FakeSystem(), read_tasks(tasks, None), tasks=tasks).result
    assert result.tasks[str(path)].pairs == 12
    # A file's name is not a task's, and two files of one name are two tasks.
    (tmp_path / "other").mkdir()
    files = [tmp_path / "stsb.csv", tmp_path / "other" / "stsb.csv"]
    for file in files:
        file.write_text(path.read_text())
    two = find_tasks(",".join(map(str, files)))
    assert list(read_tasks(two, None)) == [str(file) for file in files]


def test_gain_is_the_difference_with_an_interval_around_it() -> None:
    pairs = fake_pairs(200)
    prompt = Prompt(demonstrations=(fake_candidates([5])[0],))
    gain = gain_on(pairs, FakeEncoder(), [prompt], Prompt())
    assert gain.gain == pytest.approx(gain.spearman - gain.baseline_spearman)
    assert gain.gain_ci95[0] < gain.gain < gain.gain_ci95[1]
    assert gain.gain > 5


@pytest.mark.data
def test_real_tree_is_scored_and_missing_tasks_are_listed(
    data: Path, tmp_path: Path, tiny: Callable[[str], Path]
) -> None:
    (tmp_path / "STS").mkdir()
    for name in ("STS12-en-test", "STS13-en-test", "STSBenchmark"):
        (tmp_path / "STS" / name).symlink_to(data / "senteval" / "STS" / name)
    (tmp_path / "SICK").symlink_to(data / "senteval" / "SICK")
    tasks = find_tasks("sts")
    embedder = Embedder.without_demonstrations(str(tiny("llama")), precision="fp32", device="cpu")
    result = evaluate(embedder, read_tasks(tasks, tmp_path), tasks=tasks).result
    assert {name: task.pairs for name, task in result.tasks.items()} == {
        "sts12": 3108,
        "sts13": 1500,
        "stsb": 1379,
        "sickr": 4927,
    }
    assert result.missing == ["sts14", "sts15", "sts16"]
    assert result.average == {}
    assert len(result.tasks["sts12"].subsets) == 5


def test_a_centered_embedder_is_scored(senteval: Path, tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    width = encoder.model.config.hidden_size
    mean = np.full(width, 0.5, dtype=np.float32)
    tasks = find_tasks("sts12")
    data = read_tasks(tasks, senteval)
    plain, centered = (
        evaluate(Embedder(encoder, [Prompt()], mean=each), data, tasks=tasks).result
        for each in (None, mean)
    )
    assert centered.tasks["sts12"].score != plain.tasks["sts12"].score
    assert plain.system.mean is None
    assert centered.system.mean
    assert centered.system.label == f"{plain.system.label}, centered"


def test_a_decoder_s_mean_is_named_so(tiny: Callable[[str], Path]) -> None:
    options = {"precision": "fp32", "device": "cpu"}
    for template, method in (("mean", "mean"), ("echo", "prompt"), ("prompteol", "prompt")):
        embedder = Embedder.without_demonstrations(str(tiny("llama")), template=template, **options)
        assert embedder.describe()["method"] == method


def test_a_year_that_is_not_whole_is_left_out(
    senteval: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = senteval / "STS" / "STS12-en-test"
    # No subset of SentEval's.
    (place / "STS.input.ALL.txt").write_text("a\tb\n")
    assert len(read_tasks(find_tasks("sts12"), senteval)["sts12"]) == 5
    write_opposites(senteval, "CR", "custrev.neg", "custrev.pos")
    (place / "STS.gs.MSRvid.txt").unlink()
    assert list(read_tasks(find_tasks("sts12,cr"), senteval)) == ["cr"]
    assert "STS12 is not whole, there is no STS/STS12-en-test/STS.gs.MSRvid.txt" in caplog.text


def test_the_hub_s_copies_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = fake_pairs(20)
    asked = []

    def load_dataset(name: str, *, split: str, revision: str) -> dict[str, Sequence[object]]:
        asked.append((name, split, revision))
        return {
            "sentence1": pairs.sentences1, "sentence2": pairs.sentences2, "score": pairs.scores,
        }  # fmt: skip

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    tasks = find_tasks("sts,stsb-dev,trec")
    data = read_tasks(tasks, "hub")
    # SICK-R and the transfer tasks are not there in the form that the paper has.
    assert list(data) == ["sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "stsb-dev"]
    assert [split for _, split, _ in asked] == ["test"] * 6 + ["validation"]
    assert all(len(revision) == 40 for *_, revision in asked)
    result = evaluate(FakeSystem(), data, tasks=tasks).result
    assert result.missing == ["sickr", "trec"]
    assert result.average == {}
    # There are no subsets to take a mean over.
    assert list(result.tasks["sts12"].other) == ["pearson"]


def test_the_same_folder_with_another_setting_is_another_system(
    senteval: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "student"
    save_tiny_encoder("bert", tmp_path / "bert")
    made = open_baseline(str(tmp_path / "bert"), method="mean", device="cpu")
    made.model.save_pretrained(str(folder))
    tasks = find_tasks("sts12")
    data = read_tasks(tasks, senteval)
    found = []
    for mode in ("mean", "cls"):
        settings = json.loads((folder / "1_Pooling" / "config.json").read_text())
        settings["pooling_mode"] = mode
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
        student = open_baseline(str(folder), device="cpu")
        found.append(evaluate(student, data, tasks=tasks, cache=tmp_path / "cache").result)
    assert found[0].system.model.revision != found[1].system.model.revision
    assert [each.sentences_encoded for each in found] == [found[0].sentences_encoded] * 2
    assert found[0].tasks["sts12"].score != found[1].tasks["sts12"].score


def test_another_device_s_embeddings_are_not_taken(senteval: Path, tmp_path: Path) -> None:
    tasks = find_tasks("sts12")
    data = read_tasks(tasks, senteval)
    first, second = FakeSystem(), FakeSystem()
    second.arithmetic = "cuda, bfloat16"
    for system in (first, second):
        evaluate(system, data, tasks=tasks, cache=tmp_path)
    assert first.asked == second.asked
