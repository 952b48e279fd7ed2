"""Embeddings of zeros or not finite, and correlations that do not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from demosearch import Embedder, Prompt
from demosearch.cli.display.evaluation import show_result
from demosearch.errors import NotFiniteError, UserError
from demosearch.evaluation import compare, evaluate, find_tasks, read_tasks
from demosearch.evaluation.cache import EvaluationCache
from demosearch.evaluation.comparison import TableFormat
from demosearch.evaluation.result import Evaluation
from tests.datasets.transfer import write_sst
from tests.fakes import FakeEncoder, fake_pairs, write_fake_pairs


def test_a_zero_vector_counts_as_in_senteval(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Zeros(FakeEncoder):
        """The second text of the first pair has no embedding."""

        def encode(self, texts, prompt=None, **_):  # type: ignore[no-untyped-def]
            states = super().encode(texts, prompt or Prompt())
            return states * [
                [not text.startswith("second") or row > 0] for row, text in rows(texts)
            ]

    def rows(texts: Sequence[str]) -> list[tuple[int, str]]:
        return [(int(text.split()[-1]), text) for text in texts]

    pairs = fake_pairs(12)
    (tmp_path / "pairs.csv").write_text(
        "sentence1,sentence2,score\n"
        + "".join(
            f"{first},{second},{score}\n"
            for first, second, score in zip(
                pairs.sentences1, pairs.sentences2, pairs.scores, strict=True
            )
        )
    )
    tasks = find_tasks(str(tmp_path / "pairs.csv"))
    embedder = Embedder(Zeros(), [Prompt()])
    evaluation = evaluate(embedder, read_tasks(tasks, None), tasks=tasks)
    first, second = map(Zeros().encode, (pairs.sentences1, pairs.sentences2))
    with np.errstate(invalid="ignore"):
        cosines = (first * second).sum(axis=1) / np.linalg.norm(second, axis=1)
    expected = 100 * stats.spearmanr(np.nan_to_num(cosines), pairs.scores).statistic
    (result,) = evaluation.result.tasks.values()
    assert result.score == pytest.approx(expected, abs=1e-4)
    assert caplog.text.count("1 of 12 pairs have an embedding of zeros") == 1


def test_a_correlation_with_equal_similarities_is_null(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Same(FakeEncoder):
        def encode(self, texts, prompt=None, **_):  # type: ignore[no-untyped-def]
            del prompt
            return np.ones((len(texts), 2), dtype=np.float32)

    # A short path, so that the table is not folded.
    monkeypatch.chdir(tmp_path)
    tasks = find_tasks(write_fake_pairs(Path("pairs.csv"), 12))
    evaluation = evaluate(Embedder(Same(), [Prompt()]), read_tasks(tasks, None), tasks=tasks)
    (result,) = evaluation.result.tasks.values()
    assert result.score is None
    assert (
        "has no correlation, because all similarities or all gold scores are equal" in caplog.text
    )
    evaluation.write(tmp_path / "r.json")
    assert "NaN" not in (tmp_path / "r.json").read_text()
    again = Evaluation.read(tmp_path / "r.json")
    assert again.result == evaluation.result
    show_result(again.result, details=True)
    assert re.search(r"pairs\.csv +spearman +12 +- ", capsys.readouterr().out)
    # A reader of the file sees that there is no score.
    (task,) = json.loads((tmp_path / "r.json").read_text())["tasks"].values()
    assert task["score"] is None
    (tmp_path / "r.npz").unlink()
    comparison = compare([tmp_path / "r.json", tmp_path / "r.json"])
    text = comparison.text(TableFormat.MARKDOWN)
    assert "is not compared: a score is missing" in text
    assert "pairs.csv has no score, because all similarities or all gold scores are equal" in text
    for form in TableFormat:
        assert "nan" not in comparison.text(form).lower()


class Own:
    """A system of the user's own, in which one text has no finite embedding."""

    arithmetic = "cpu, float32"

    def __init__(self, odd: str = "", value: Any = np.nan) -> None:
        self._odd, self._value = odd, value

    def describe(self) -> dict[str, Any]:
        model = {"name": "own", "source": "", "revision": "1", "precision": "fp32"}
        return {"model": model, "adapter": None, "prompts": [], "method": "own"}

    def encode(self, sentences: Sequence[str]) -> Any:
        generator = np.random.default_rng(0)
        rows = generator.normal(size=(len(sentences), 4))
        rows[[text == self._odd for text in sentences]] = self._value
        return rows


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
def test_a_text_without_a_finite_embedding_is_named(tmp_path: Path, value: float) -> None:
    tasks = find_tasks(write_fake_pairs(tmp_path / "pairs.csv", 12))
    data = read_tasks(tasks, None)
    ((pairs,),) = data.values()
    reason = r"^pairs, pair 7: the embedding of '.*' is not finite at the output in fp32"
    with pytest.raises(NotFiniteError, match=reason):
        evaluate(Own(pairs.sentences2[6], value), data, tasks=tasks)
    write_sst(tmp_path)
    tasks = find_tasks("sst2")
    data = read_tasks(tasks, tmp_path)
    with pytest.raises(NotFiniteError, match=r"^sst2 train, example 3: the embedding of"):
        evaluate(Own(data["sst2"].train.texts[2], value), data, tasks=tasks)


def test_embeddings_of_another_shape_are_refused(tmp_path: Path) -> None:
    class Flat(Own):
        def encode(self, sentences: Sequence[str]) -> Any:
            return np.ones(len(sentences))

    class Words(Own):
        def encode(self, sentences: Sequence[str]) -> Any:
            return [[text] for text in sentences]

    tasks = find_tasks(write_fake_pairs(tmp_path / "pairs.csv", 12))
    for system, reason in (
        (Flat(), r"must have one row for each of 24 texts but got shape \(24,\)"),
        (Words(), "must be an array of numbers but got list"),
    ):
        with pytest.raises(UserError, match=reason):
            evaluate(system, read_tasks(tasks, None), tasks=tasks)


def test_a_result_with_nan_of_version_0_1_is_read_as_one_without_a_score(tmp_path: Path) -> None:
    tasks = find_tasks(write_fake_pairs(tmp_path / "pairs.csv", 12))
    path = tmp_path / "r.json"
    evaluate(Own(), read_tasks(tasks, None), tasks=tasks).write(path)
    (task,) = Evaluation.read(path).result.tasks.values()
    path.write_text(path.read_text().replace(str(task.score), "NaN"))
    (tmp_path / "r.npz").unlink()
    (task,) = Evaluation.read(path).result.tasks.values()
    assert task.score is None
    path.write_text(path.read_text().replace("NaN", "1e999"))
    with pytest.raises(UserError, match="score must be a finite number but got inf"):
        compare([path])


def test_cached_values_have_no_nan(tmp_path: Path) -> None:
    cache = EvaluationCache(tmp_path, {"model": "m"})
    cache.put_value("key", [1.0, float("nan")])
    assert cache.value("key") == [1.0, None]
    cache.close()
