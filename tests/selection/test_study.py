from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import optuna
import pandas as pd
import pytest

from demosearch import search
from demosearch.errors import UserError
from demosearch.selection import study
from demosearch.selection.rungs import rung_sizes, survivors
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES, DyingEncoder, Killed, open_study, timeless

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_a_trial_is_a_candidate_on_a_rung_with_its_text(tmp_path: Path) -> None:
    candidates = {one.id: one for one in fake_candidates(NOISES)}
    search(FakeEncoder(), list(candidates.values()), DEV, folder=tmp_path)
    trials = open_study(tmp_path).trials
    rungs = rung_sizes(240)
    keys = [(trial.user_attrs["candidate"], trial.user_attrs["pairs"]) for trial in trials]
    assert len(set(keys)) == len(keys)
    assert Counter(pairs for _, pairs in keys) == {
        size: (survivors(12, rung - 1) if rung else 12) + (size == 240)
        for rung, size in enumerate(rungs)
    }
    numbers = {"baseline": 0} | {name: row for row, name in enumerate(candidates, start=1)}
    for trial in trials:
        attributes = trial.user_attrs
        assert trial.params == {"candidate": numbers[attributes["candidate"]]}
        assert trial.state.name == ("COMPLETE" if attributes["pairs"] == 240 else "PRUNED")
        assert max(trial.intermediate_values) == attributes["pairs"]
        if attributes["candidate"] != "baseline":
            one = candidates[attributes["candidate"]]
            texts = (attributes["sentence"], attributes["word"], attributes["source"])
            assert texts == (one.sentence, one.word, one.source)
    assert open_study(tmp_path).best_trial.user_attrs["word"] == "W5"


def test_a_study_of_another_program_is_left_alone(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'theirs.db'}"
    study = optuna.create_study(storage=storage, study_name="tuning")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(UserError, match=r"study 'tuning' in .* has trials of something else"):
        search(
            FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path / "ours",
            storage=storage, study_name="tuning",
        )  # fmt: skip
    assert not optuna.load_study(storage=storage, study_name="tuning").user_attrs


def test_a_folder_of_another_search_is_left_alone(tmp_path: Path) -> None:
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(UserError, match=r"made with another seed \(0, now 1\); use another output"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, seed=1)
    with pytest.raises(UserError, match="made with another candidates"):
        search(FakeEncoder(), fake_candidates(NOISES[:5]), DEV, folder=tmp_path)
    halved = FakeEncoder()
    halved.record = halved.record.model_copy(update={"precision": "bf16"})
    with pytest.raises(UserError, match=r"another model's precision \('fp32', now 'bf16'\)"):
        search(halved, fake_candidates(NOISES), DEV, folder=tmp_path)
    # How many they are does not make them other weights.
    counted = FakeEncoder()
    counted.record = counted.record.model_copy(update={"parameters": 5})
    search(counted, fake_candidates(NOISES), DEV, folder=tmp_path)
    assert (tmp_path / "study.db").read_bytes() == before


def test_the_token_budget_is_the_first_ones_for_all_that_go_on(tmp_path: Path) -> None:
    first = FakeEncoder()
    first.token_budget = 64
    search(first, fake_candidates(NOISES[:3]), DEV, folder=tmp_path)
    second = FakeEncoder()
    second.token_budget = 4096
    search(second, fake_candidates(NOISES[:3]), DEV, folder=tmp_path)
    assert second.token_budget == 64


def test_a_budget_that_was_halved_is_kept(tmp_path: Path) -> None:
    class Full(FakeEncoder):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            self.token_budget = 32
            return super().encode(texts, prompt)

    search(Full(), fake_candidates(NOISES[:3]), DEV, folder=tmp_path)
    again = FakeEncoder()
    search(again, fake_candidates(NOISES[:3]), DEV, folder=tmp_path)
    assert again.token_budget == 32


class Jumping(datetime):
    """A clock that is set back by an hour whenever somebody looks."""

    looks = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        cls.looks += 1
        return datetime.now(tz) - cls.looks * timedelta(hours=1)


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, found = (tmp_path / name for name in ("steady", "jumping"))
    file = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=expected).file
    monkeypatch.setattr(study, "datetime", Jumping)
    with suppress(Killed):
        search(DyingEncoder(7), fake_candidates(NOISES), DEV, folder=found)
    again = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=found).file
    assert Jumping.looks
    assert timeless(again) == timeless(file)
    tables = [pd.read_csv(folder / "history.csv") for folder in (expected, found)]
    assert (tables[1]["seconds"] >= 0).all()
    pd.testing.assert_frame_equal(*(one.drop(columns=["ended", "seconds"]) for one in tables))
