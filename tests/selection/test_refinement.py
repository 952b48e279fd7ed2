from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from demosearch import Embedder, Prompt, search
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.metrics.similarity import cosine
from demosearch.selection import Center, SearchInputs
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES, TwoThreads, timeless

pytestmark = pytest.mark.usefixtures("fewer_resamples", "in_memory")


class Together(FakeEncoder):
    """Two demonstrations are better than one, with the better one last; a third changes nothing."""

    def noise(self, prompt: Prompt, noises: list[float]) -> float:
        if len(noises) == 1:
            return noises[0]
        return min(noises) * (0.3 if noises[-1] == min(noises) else 0.6)


def test_demonstrations_are_added_one_at_a_time(tmp_path: Path) -> None:
    encoder = Together()
    noises = [60, 62, 64, 66, 68, 70, 72, 40]
    found = search(encoder, fake_candidates(noises), DEV, folder=tmp_path, shots=3)
    file = found.file
    # The gain of a third one is not significant, so there are two, in the better order.
    assert len(file.demonstrations) == 2
    assert file.demonstrations[1].word == "W40"
    assert list(found.prompt.demonstrations) == file.demonstrations
    assert file.prompts[0].demonstrations == file.demonstrations
    assert [step.demonstrations for step in file.steps] == [1, 2]
    first, second = file.steps
    assert first.gain == pytest.approx(first.spearman - file.dev.baseline_spearman)
    assert second.gain == pytest.approx(second.spearman - first.spearman)
    assert second.spearman == file.dev.spearman == file.ranking[0].spearman
    assert second.gain_ci95[0] > 0
    assert file.ranking[0].word == " | ".join(
        demonstration.word for demonstration in file.demonstrations
    )
    assert file.search.sentences_encoded == encoder.encoded.total()
    alone = search(Together(), fake_candidates(noises), DEV, folder=tmp_path / "1").file
    assert alone.steps is None
    assert alone.dev.spearman == first.spearman


def test_two_threads_add_the_same_demonstrations_as_one(tmp_path: Path) -> None:
    class TogetherInThreads(TwoThreads, Together):
        pass

    files = [
        search(encoder, fake_candidates([60, 62, 40]), DEV, folder=tmp_path / name, shots=2).file
        for name, encoder in (("one", Together()), ("two", TogetherInThreads()))
    ]
    assert len(files[0].demonstrations) == 2
    assert timeless(files[0]) == timeless(files[1])


def test_a_finished_search_can_be_continued_with_more_demonstrations(tmp_path: Path) -> None:
    noises = [60, 62, 64, 40]
    search(Together(), fake_candidates(noises), DEV, folder=tmp_path)
    encoder = Together()
    on = search(encoder, fake_candidates(noises), DEV, folder=tmp_path, shots=2).file
    assert len(on.demonstrations) == 2
    assert all("+" in name for name in encoder.encoded)


def test_a_stage_that_the_budget_allowed_stays_in_the_result(
    tmp_path: Path,
) -> None:
    candidates = fake_candidates([60, 62, 64, 66, 68, 70, 72, 40])
    single, double = (
        search(Together(), candidates, DEV, folder=tmp_path / str(shots), shots=shots).file.search
        for shots in (1, 2)
    )
    added = double.sentences_encoded - single.sentences_encoded
    # The budget suffices for the longer prompts once, not twice.
    budget = f"{double.sentences_encoded + added - 1}-sentences"
    files = [
        search(Together(), candidates, DEV, folder=tmp_path / "on", shots=2, budget=budget).file
        for _ in range(2)
    ]
    assert len(files[0].demonstrations) == 2
    assert timeless(files[0]) == timeless(files[1])


def test_longer_prompts_that_cannot_be_scored_leave_the_result_unchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Small(Together):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            if len(prompt.demonstrations) > 1:
                raise UserError("this prompt is too long")
            return super().encode(texts, prompt)

    candidates = fake_candidates([60, 62, 64, 66, 68, 70, 72, 40])
    file = search(Small(), candidates, DEV, folder=tmp_path, shots=2).file
    alone = search(Together(), candidates, DEV, folder=tmp_path / "alone").file
    assert file.dev == alone.dev
    assert "prompts of 2 demonstrations are left out: " in caplog.text
    assert "this prompt is too long" in caplog.text


class Shifted(FakeEncoder):
    """States of any length with a common shift, as a language model's."""

    def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
        lengths = np.array([0.2 + zlib.crc32(text.encode()) / 2**32 for text in texts])
        states = super().encode(texts, prompt) * lengths[:, None].astype(np.float32)
        return states + np.array([1, -1], dtype=np.float32)


# All directions, so that their mean is the shift.
AROUND = [f"text {angle / 5} 0" for angle in range(100)]


def test_the_mean_of_texts_is_subtracted_if_that_improves_the_score(tmp_path: Path) -> None:
    encoder = Shifted()
    center = Center("lines.txt", AROUND)
    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "folder": tmp_path}
    result = search(encoder, **arguments, inputs=SearchInputs(center=center))
    file = result.file
    assert file.postprocess.fitted_on == "lines.txt"
    assert file.postprocess.texts == 100
    assert file.steps[-1].centered
    assert file.steps[-1].spearman == file.dev.spearman > file.ranking[0].spearman
    assert file.mean == pytest.approx(encoder.encode(AROUND, result.prompt).mean(0), abs=1e-6)
    # The file as read again gives the score that it holds.
    file.write(tmp_path / "best.json")
    read = DemonstrationsFile.read(tmp_path / "best.json")
    states = Embedder(encoder, result.prompts, mean=read.mean).encode
    found = cosine(states(DEV.sentences1), states(DEV.sentences2))
    expected = 100 * stats.spearmanr(found, DEV.scores).statistic
    assert read.dev.spearman == pytest.approx(expected, abs=0.01)
    again = Shifted()
    assert search(again, **arguments, inputs=SearchInputs(center=center)).file.dev == file.dev
    assert again.encoded.total() == 0


def test_a_mean_that_does_not_improve_the_score_is_left_out(tmp_path: Path) -> None:
    inputs = SearchInputs(center=Center("far", ["text 0 0", "text 0.1 1"]))
    file = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, inputs=inputs).file
    assert file.postprocess is None
    assert file.mean is None


def test_a_missing_or_foreign_mean_is_an_error(tmp_path: Path) -> None:
    inputs = SearchInputs(center=Center("lines", AROUND))
    file = search(Shifted(), fake_candidates(NOISES), DEV, folder=tmp_path, inputs=inputs).file
    file.write(tmp_path / "a.json")
    file.with_mean(np.zeros(2, dtype=np.float32), "zeros", 1).write(tmp_path / "b.json")
    (tmp_path / "a.safetensors").rename(tmp_path / "kept")
    with pytest.raises(UserError, match=r"a\.safetensors, which must be beside"):
        DemonstrationsFile.read(tmp_path / "a.json")
    (tmp_path / "b.safetensors").rename(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="belongs to a different demonstrations file"):
        DemonstrationsFile.read(tmp_path / "a.json")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="does not contain a mean embedding"):
        DemonstrationsFile.read(tmp_path / "a.json")
