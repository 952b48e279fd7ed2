from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from demosearch import search
from demosearch.errors import UserError
from demosearch.selection import trials
from demosearch.selection.rungs import FIRST_RUNG, rung_sizes, survivors
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.conftest import use_fewer_resamples
from tests.selection.searches import (
    DEV,
    NOISES,
    DyingEncoder,
    Killed,
    open_study,
    search_in_memory,
    timeless,
)

pytestmark = pytest.mark.usefixtures("fewer_resamples")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search, not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        use_fewer_resamples(patch)
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=folder)
    return folder


def test_a_trial_is_a_candidate_on_a_rung_with_its_text(whole: Path) -> None:
    candidates = {candidate.id: candidate for candidate in fake_candidates(NOISES)}
    trials = open_study(whole).trials
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
        assert attributes["template"] == "prompteol"
        if attributes["candidate"] == "baseline":
            assert attributes["demonstration_ids"] == []
            continue
        candidate = candidates[attributes["candidate"]]
        assert attributes["demonstration_ids"] == [candidate.id]
        texts = (attributes["sentence"], attributes["word"], attributes["source"])
        assert texts == (candidate.sentence, candidate.word, candidate.source)
    assert open_study(whole).best_trial.user_attrs["word"] == "W5"


def test_a_study_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    with suppress(Killed):
        search(DyingEncoder(9), fake_candidates(NOISES), DEV, folder=tmp_path)
    with sqlite3.connect(tmp_path / "study.db") as database:
        # Trials of version 0.1 have the text of the key only.
        database.execute("DELETE FROM trial_user_attributes WHERE key = 'demonstration_ids'")
    database.close()
    resumed, alone = FakeEncoder(), FakeEncoder()
    file = search(resumed, fake_candidates(NOISES), DEV, folder=tmp_path).file
    expected = search_in_memory(alone, tmp_path / "alone")
    assert timeless(file) == timeless(expected)
    # The baseline on all pairs, and eight candidates on the first rung.
    assert resumed.encoded.total() == alone.encoded.total() - (480 + 8 * 2 * FIRST_RUNG)


def test_a_study_of_another_program_is_refused(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'theirs.db'}"
    study = optuna.create_study(storage=storage, study_name="tuning")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(
        UserError, match=r"study 'tuning' in .* contains trials that demosearch did not create"
    ):
        search(
            FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path / "ours",
            storage=storage, study_name="tuning",
        )  # fmt: skip
    assert not optuna.load_study(storage=storage, study_name="tuning").user_attrs


def refused_settings() -> list[Any]:
    halved = FakeEncoder()
    halved.record = halved.record.model_copy(update={"precision": "bf16"})
    every = fake_candidates(NOISES)
    return [
        pytest.param(FakeEncoder(), every, {"seed": 1}, r"seed was 0, now 1\)", id="seed"),
        pytest.param(FakeEncoder(), every[:5], {}, "candidates was", id="candidates"),
        pytest.param(halved, every, {}, r"model's precision was 'fp32', now 'bf16'\)", id="model"),
    ]


@pytest.mark.parametrize(("encoder", "candidates", "options", "message"), refused_settings())
def test_a_folder_of_another_search_is_left_unchanged(
    whole: Path, encoder: FakeEncoder, candidates: Any, options: dict[str, Any], message: str
) -> None:
    before = (whole / "study.db").read_bytes()
    with pytest.raises(UserError, match=message):
        search(encoder, candidates, DEV, folder=whole, **options)
    assert (whole / "study.db").read_bytes() == before


def test_the_number_of_parameters_may_become_known_later(whole: Path) -> None:
    before = (whole / "study.db").read_bytes()
    counted = FakeEncoder()
    counted.record = counted.record.model_copy(update={"parameters": 5})
    search(counted, fake_candidates(NOISES), DEV, folder=whole)
    assert not counted.encoded
    assert (whole / "study.db").read_bytes() == before


def test_the_first_token_budget_is_kept_when_a_search_is_resumed(tmp_path: Path) -> None:
    storage, candidates = optuna.storages.InMemoryStorage(), fake_candidates(NOISES[:3])
    first, second = FakeEncoder(), FakeEncoder()
    first.token_budget, second.token_budget = 64, 4096
    for encoder in (first, second):
        search_in_memory(encoder, tmp_path, candidates, storage=storage)
    assert second.token_budget == 64


def test_a_token_budget_that_was_halved_is_kept(tmp_path: Path) -> None:
    class Full(FakeEncoder):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            self.token_budget = 32
            return super().encode(texts, prompt)

    storage, candidates = optuna.storages.InMemoryStorage(), fake_candidates(NOISES[:3])
    search_in_memory(Full(), tmp_path, candidates, storage=storage)
    again = FakeEncoder()
    search_in_memory(again, tmp_path, candidates, storage=storage)
    assert again.token_budget == 32


class Jumping(datetime):
    """A clock that is set back by an hour at every look."""

    looks = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        cls.looks += 1
        return datetime.now(tz) - cls.looks * timedelta(hours=1)


def test_a_clock_that_jumps_changes_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = search_in_memory(FakeEncoder(), tmp_path / "steady")
    monkeypatch.setattr(trials, "datetime", Jumping)
    storage = optuna.storages.InMemoryStorage()
    with suppress(Killed):
        search_in_memory(DyingEncoder(7), tmp_path, storage=storage)
    again = search_in_memory(FakeEncoder(), tmp_path, storage=storage)
    assert Jumping.looks
    assert timeless(again) == timeless(file)
    tables = [pd.read_csv(folder / "history.csv") for folder in (whole, tmp_path)]
    assert (tables[1]["seconds"] >= 0).all()
    pd.testing.assert_frame_equal(*(table.drop(columns=["ended", "seconds"]) for table in tables))
