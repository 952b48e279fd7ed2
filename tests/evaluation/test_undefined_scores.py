"""Embeddings of zeros, and correlations that do not exist."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from demosearch import Embedder, Prompt
from demosearch.cli.display.evaluation import show_result
from demosearch.evaluation import compare, evaluate, find_tasks, read_tasks
from demosearch.evaluation.comparison import TableFormat
from demosearch.evaluation.result import Evaluation
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
    comparison = compare([tmp_path / "r.json", tmp_path / "r.json"])
    assert "is not compared: a score is missing" in comparison.text(TableFormat.MARKDOWN)
