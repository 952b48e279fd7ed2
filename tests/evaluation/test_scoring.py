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
from demosearch.selection.steps import System
from tests.datasets.transfer import write_mrpc, write_opposites, write_sst, write_trec
from tests.examples import JOCKEY
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.tiny import save_tiny_encoder


class PrecomputedSystem:
    """Embeddings that an embedder computed before."""

    def __init__(self, embedder: Embedder, states: dict[str, NDArray[np.float32]]) -> None:
        self.arithmetic = embedder.arithmetic
        self.describe = embedder.describe
        self._states = states

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._states[text] for text in sentences])


def test_the_score_is_spearman_s_correlation_over_all_subsets(
    senteval: Path, tiny: Callable[[str], Path]
) -> None:
    tasks = find_tasks("sts12")
    data = read_tasks(tasks, senteval)
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    embedder = Embedder(encoder, [Prompt(demonstrations=(JOCKEY,))])
    # The same embeddings for both sides.
    texts = [text for pairs in data["sts12"] for text in pairs.sentences()]
    states = dict(zip(texts, embedder.encode(texts), strict=True))
    result = evaluate(PrecomputedSystem(embedder, states), data, tasks=tasks).result
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
    """Hashes words into vectors, and records the encoded sentences."""

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
def test_transfer_tasks_are_scored_by_a_classifier(transfer: Path, classifier: Classifier) -> None:
    tasks = find_tasks("transfer")
    data = read_tasks(tasks, transfer)
    found = evaluate(FakeSystem(), data, tasks=tasks, classifier=classifier)
    assert {name: task.examples for name, task in found.result.tasks.items()} == {
        "cr": 80, "sst2": 12, "trec": 10, "mrpc": 12,
    }  # fmt: skip
    for name, task in found.result.tasks.items():
        # SentEval's early stopping uses a twentieth of the examples: two here.
        assert task.score > 90 or classifier is Classifier.SENTEVAL, name
        assert task.score == pytest.approx(100 * found.details[name].values.mean())
        assert task.classifier == classifier
    mrpc, tested = found.details["mrpc"].values.astype(bool), data["mrpc"].test
    gold = np.array(tested.labels, dtype=bool)
    expected = 200 * (mrpc & gold).sum() / (2 * (mrpc & gold).sum() + (~mrpc).sum())
    assert found.result.tasks["mrpc"].other["f1"] == pytest.approx(expected)
    assert found.result.missing == ["mr", "subj", "mpqa"]


def test_an_evaluation_resumes_after_a_kill(
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


def test_a_repeated_evaluation_computes_nothing_again(
    transfer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    tasks = find_tasks("cr,trec")
    data = read_tasks(tasks, transfer)
    first = evaluate(FakeSystem(), data, tasks=tasks, cache=cache)
    monkeypatch.setattr(
        scoring, "_probe", lambda *_: pytest.fail("the classifier was trained again")
    )
    second = evaluate(FakeSystem(), data, tasks=tasks, cache=cache)
    assert second.result.sentences_encoded == 0
    assert second.result.tasks == first.result.tasks
    # The cache belongs to the system.
    other = FakeSystem("other")
    sts = find_tasks("trec")
    monkeypatch.undo()
    evaluate(other, read_tasks(sts, transfer), tasks=sts, cache=cache)
    assert len(other.asked) == 40


def test_tasks_without_data_are_reported(senteval: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read_tasks(find_tasks("sts"), senteval)
    assert list(data) == ["sts12"]
    assert "STS13 is skipped because its data are missing: " in caplog.text
    assert "STSBenchmark/sts-test.csv" in caplog.text
    with pytest.raises(
        UserError, match="require a SentEval data folder; set --data or DEMOSEARCH_DATA"
    ):
        read_tasks(find_tasks("sts13"), None)
    with pytest.raises(UserError, match="must contain at least one of STS/STS13-en-test"):
        read_tasks(find_tasks("sts13"), senteval)
    with pytest.raises(UserError, match="must be an existing SentEval data folder"):
        read_tasks(find_tasks("sts"), senteval / "none")


def test_task_names_and_groups() -> None:
    assert [task.name for task in find_tasks("STS")] == [
        "sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr",
    ]  # fmt: skip
    assert [task.name for task in find_tasks("sickr,stsb-dev,sickr")] == ["sickr", "stsb-dev"]
    assert [task.name for task in find_tasks("transfer")] == [
        "mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc",
    ]  # fmt: skip
    assert len(find_tasks("full")) == len(TASKS) - 1 == 14
    with pytest.raises(UserError, match="--tasks must be one of sts, transfer, full, sts12"):
        find_tasks("glue")


def test_a_file_of_pairs_is_a_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    rows = [f"one {row},two {row},{row % 5}" for row in range(12)]
    path.write_text("sentence1,sentence2,score\n" + "\n".join(rows) + "\n")
    tasks = find_tasks(str(path))
    result = evaluate(FakeSystem(), read_tasks(tasks, None), tasks=tasks).result
    assert result.tasks[str(path)].pairs == 12
    # A file's name is not the name of a task, and two files with the same name are two tasks.
    (tmp_path / "other").mkdir()
    files = [tmp_path / "stsb.csv", tmp_path / "other" / "stsb.csv"]
    for file in files:
        file.write_text(path.read_text())
    two = find_tasks(",".join(map(str, files)))
    assert list(read_tasks(two, None)) == [str(file) for file in files]


def test_the_gain_is_the_difference_with_its_interval() -> None:
    pairs = fake_pairs(200)
    better, best = (Prompt(demonstrations=(candidate,)) for candidate in fake_candidates([30, 5]))
    systems = [System((prompt,)) for prompt in (Prompt(), better, best)]
    gain = gain_on(pairs, FakeEncoder(), systems, ["template", "demonstrations"])
    assert gain.gain == pytest.approx(gain.spearman - gain.baseline_spearman)
    assert gain.gain_ci95[0] < gain.gain < gain.gain_ci95[1]
    assert gain.gain > 5
    # Taken apart as in the search.
    assert [step.part for step in gain.steps] == ["template", "demonstrations"]
    assert sum(step.gain for step in gain.steps) == pytest.approx(gain.gain)
    alone = gain_on(pairs, FakeEncoder(), systems[::2], ["demonstrations"])
    assert alone.gain == gain.gain


@pytest.mark.data
def test_the_real_data_are_scored_and_missing_tasks_are_listed(
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


def test_the_method_of_a_decoder_is_described(tiny: Callable[[str], Path]) -> None:
    options = {"precision": "fp32", "device": "cpu"}
    for template, method in (("mean", "mean"), ("echo", "prompt"), ("prompteol", "prompt")):
        embedder = Embedder.without_demonstrations(str(tiny("llama")), template=template, **options)
        assert embedder.describe()["method"] == method


def test_an_incomplete_year_is_skipped(senteval: Path, caplog: pytest.LogCaptureFixture) -> None:
    parent = senteval / "STS" / "STS12-en-test"
    # Not a subset in SentEval.
    (parent / "STS.input.ALL.txt").write_text("a\tb\n")
    assert len(read_tasks(find_tasks("sts12"), senteval)["sts12"]) == 5
    write_opposites(senteval, "CR", "custrev.neg", "custrev.pos")
    (parent / "STS.gs.MSRvid.txt").unlink()
    assert list(read_tasks(find_tasks("sts12,cr"), senteval)) == ["cr"]
    assert "STS12 is incomplete: STS/STS12-en-test/STS.gs.MSRvid.txt missing" in caplog.text


def test_tasks_are_read_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
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
    # The hub has no copies of SICK-R and of the transfer tasks with the paper's examples.
    assert list(data) == ["sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "stsb-dev"]
    assert [split for _, split, _ in asked] == ["test"] * 6 + ["validation"]
    assert all(len(revision) == 40 for *_, revision in asked)
    result = evaluate(FakeSystem(), data, tasks=tasks).result
    assert result.missing == ["sickr", "trec"]
    assert result.average == {}
    # The hub's copies have no subsets, so there is no mean over subsets.
    assert list(result.tasks["sts12"].other) == ["pearson"]


def test_a_changed_setting_in_a_folder_makes_another_system(senteval: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    save_tiny_encoder("bert", tmp_path / "bert")
    saved = open_baseline(str(tmp_path / "bert"), method="mean", device="cpu")
    saved.model.save_pretrained(str(folder))
    tasks = find_tasks("sts12")
    data = read_tasks(tasks, senteval)
    found = []
    for mode in ("mean", "cls"):
        settings = json.loads((folder / "1_Pooling" / "config.json").read_text())
        settings["pooling_mode"] = mode
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
        baseline = open_baseline(str(folder), device="cpu")
        found.append(evaluate(baseline, data, tasks=tasks, cache=tmp_path / "cache").result)
    assert found[0].system.model.revision != found[1].system.model.revision
    assert [each.sentences_encoded for each in found] == [found[0].sentences_encoded] * 2
    assert found[0].tasks["sts12"].score != found[1].tasks["sts12"].score


def test_embeddings_of_another_device_are_not_reused(senteval: Path, tmp_path: Path) -> None:
    tasks = find_tasks("sts12")
    data = read_tasks(tasks, senteval)
    first, second = FakeSystem(), FakeSystem()
    second.arithmetic = "cuda, bfloat16"
    for system in (first, second):
        evaluate(system, data, tasks=tasks, cache=tmp_path)
    assert first.asked == second.asked
