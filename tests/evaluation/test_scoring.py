from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from demosearch import Embedder, Encoder
from demosearch.errors import UserError
from demosearch.evaluation import TASKS, evaluate, find_tasks, gain_on, read_tasks
from demosearch.prompt import Prompt
from tests.examples import JOCKEY
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs


@pytest.fixture
def senteval(tmp_path: Path) -> Path:
    place = tmp_path / "STS" / "STS12-en-test"
    place.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for subset in ("a", "b"):
        rows = [f"{subset} cat number {row}\ta dog {row % 4}" for row in range(15)]
        (place / f"STS.input.{subset}.txt").write_text("\n".join(rows) + "\n")
        golds = [f"{score:.1f}" for score in generator.uniform(0, 5, 15)]
        golds[3] = ""
        (place / f"STS.gs.{subset}.txt").write_text("\n".join(golds) + "\n")
    return tmp_path


def test_score_is_spearman_over_all_subsets_together(
    senteval: Path, tiny: Callable[[str], Path]
) -> None:
    tasks = find_tasks("sts12")
    data = read_tasks(tasks, senteval)
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    embedder = Embedder(encoder, [Prompt(demonstrations=(JOCKEY,))])
    result = evaluate(embedder, data, tasks=tasks)
    cosines, golds = [], []
    for pairs in data["sts12"]:
        for first, second, gold in zip(
            pairs.sentences1, pairs.sentences2, pairs.scores, strict=True
        ):
            one, two = embedder.encode([first, second])
            cosines.append(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
            golds.append(gold)
    task = result.tasks["sts12"]
    assert task.pairs == 28
    assert task.score == pytest.approx(100 * stats.spearmanr(cosines, golds).statistic, abs=0.2)
    assert set(task.subsets) == {"STS12.a", "STS12.b"}
    assert result.average is None
    assert result.system.prompts[0].demonstrations == [JOCKEY]
    assert result.system.prompts[0].layer == 3


def test_missing_tasks_are_named(senteval: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read_tasks(find_tasks("sts"), senteval)
    assert list(data) == ["sts12"]
    assert "STS13 is left out" in caplog.text
    assert "STSBenchmark/sts-test.csv is not there" in caplog.text
    with pytest.raises(UserError, match="has none of the tasks' data: STS/STS13-en-test"):
        read_tasks(find_tasks("sts13"), senteval)
    with pytest.raises(UserError, match="no such folder"):
        read_tasks(find_tasks("sts"), senteval / "none")


def test_task_names() -> None:
    assert [task.name for task in find_tasks("STS")] == [
        "sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr",
    ]  # fmt: skip
    assert [task.name for task in find_tasks("sickr,stsb-dev,sickr")] == ["sickr", "stsb-dev"]
    assert len(TASKS) == 8
    with pytest.raises(UserError, match="unknown task 'glue'; known: sts, sts12"):
        find_tasks("glue")


def test_gain_is_the_difference_with_an_interval_around_it() -> None:
    pairs = fake_pairs(200)
    prompt = Prompt(demonstrations=(fake_candidates([5])[0],))
    gain = gain_on(pairs, FakeEncoder(), prompt, Prompt())
    assert gain.gain == pytest.approx(gain.spearman - gain.baseline_spearman)
    assert gain.gain_ci95[0] < gain.gain < gain.gain_ci95[1]
    assert gain.gain > 5


@pytest.mark.data
def test_the_real_tree_is_scored_and_what_it_lacks_is_named(
    data: Path, tiny: Callable[[str], Path]
) -> None:
    tasks = find_tasks("sts")
    embedder = Embedder.without_demonstrations(str(tiny("llama")), precision="fp32", device="cpu")
    result = evaluate(embedder, read_tasks(tasks, data), tasks=tasks)
    assert {name: task.pairs for name, task in result.tasks.items()} == {
        "sts12": 3108,
        "sts13": 1500,
        "stsb": 1379,
        "sickr": 4927,
    }
    assert result.missing == ["sts14", "sts15", "sts16"]
    assert result.average is None
    assert len(result.tasks["sts12"].subsets) == 5
