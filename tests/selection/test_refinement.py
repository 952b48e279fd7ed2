from __future__ import annotations

from pathlib import Path

import pytest

from demosearch import Prompt, search
from demosearch.errors import UserError
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, TwoThreads, timeless

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
    assert [step.part for step in file.steps] == ["demonstrations"] * 3
    assert [step.demonstrations for step in file.steps] == [1, 2, 3]
    assert [step.taken for step in file.steps] == [True, True, False]
    first, second = file.taken_steps
    assert first.gain == pytest.approx(first.spearman - file.dev.baseline_spearman)
    assert second.gain == pytest.approx(second.spearman - first.spearman)
    assert second.spearman == file.dev.spearman == file.ranking[0].spearman
    assert second.gain_ci95[0] > 0
    assert file.ranking[0].word == " | ".join(
        demonstration.word for demonstration in file.demonstrations
    )
    assert file.search.sentences_encoded == encoder.encoded.total()
    alone = search(Together(), fake_candidates(noises), DEV, folder=tmp_path / "1").file
    assert len(alone.steps) == 1
    assert alone.dev.spearman == first.spearman


def test_a_third_demonstration_is_tried_if_the_second_one_gains_too_little(tmp_path: Path) -> None:
    class OnlyThree(FakeEncoder):
        def noise(self, prompt: Prompt, noises: list[float]) -> float:
            return noises[0] * (0.2 if len(noises) == 3 else 1)

    file = search(OnlyThree(), fake_candidates([60, 62, 40]), DEV, folder=tmp_path, shots=3).file
    assert [step.demonstrations for step in file.steps] == [1, 2, 3]
    assert [step.taken for step in file.steps] == [True, False, True]
    # The gain of the third step is over the first one.
    first, _, third = file.steps
    assert third.gain == pytest.approx(third.spearman - first.spearman)
    assert len(file.demonstrations) == 3


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
