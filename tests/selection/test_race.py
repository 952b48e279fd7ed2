from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
import pytest

from demosearch.errors import DeviceLostError, OutOfMemoryError
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import NOISES, TwoThreads, search_in_memory, timeless

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_a_race_encodes_less_than_an_exhaustive_search_and_nothing_twice(tmp_path: Path) -> None:
    race, exhaustive = FakeEncoder(), FakeEncoder()
    raced = search_in_memory(race, tmp_path / "a").search
    full = search_in_memory(exhaustive, tmp_path / "b", strategy="exhaustive").search
    assert full.sentences_encoded == full.sentences_exhaustive == exhaustive.encoded.total()
    assert raced.sentences_exhaustive == full.sentences_exhaustive
    assert raced.sentences_encoded == race.encoded.total() < 0.6 * full.sentences_encoded
    assert max(race.encoded.values()) == 480


def test_a_failing_candidate_is_a_failed_trial_without_a_score(tmp_path: Path) -> None:
    candidates = fake_candidates([*NOISES, "Fail", "Nan"])
    file = search_in_memory(FakeEncoder(), tmp_path, candidates)
    assert file.demonstrations[0].word == "W5"
    table = pd.read_csv(tmp_path / "trials.csv").set_index("word")
    assert table.loc["Fail", "state"] == table.loc["Nan", "state"] == "fail"
    assert table.loc["Fail", "failure"] == "this prompt is too long"
    reason = "a similarity is not finite, the first one that of fake, pair "
    assert table.loc["Nan", "failure"].startswith(reason)
    assert table.loc[["Fail", "Nan"], "spearman"].isna().all()


def test_two_threads_give_the_result_of_one_and_score_nothing_twice(tmp_path: Path) -> None:
    encoders = {"one": FakeEncoder(), "two": TwoThreads()}
    one, two = (
        timeless(search_in_memory(encoder, tmp_path / name)) for name, encoder in encoders.items()
    )
    assert one == two
    assert encoders["one"].encoded == encoders["two"].encoded
    tables = [pd.read_csv(tmp_path / name / "trials.csv") for name in encoders]
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in tables))


def test_a_lost_device_ends_the_search_and_fails_no_candidate(tmp_path: Path) -> None:
    class Dying(TwoThreads):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            if self.encoded.total() > 1000:
                raise DeviceLostError("the process of device 1 was ended")
            return super().encode(texts, prompt)

    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(DeviceLostError, match="device 1"):
        search_in_memory(Dying(), tmp_path, storage=storage)
    search_in_memory(FakeEncoder(), tmp_path, storage=storage)
    assert (pd.read_csv(tmp_path / "trials.csv")["failure"].isna()).all()


def test_a_lack_of_memory_ends_the_search_and_fails_no_candidate(tmp_path: Path) -> None:
    class Short(FakeEncoder):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            if self.encoded.total() > 1000:
                raise OutOfMemoryError("one text does not fit the memory")
            return super().encode(texts, prompt)

    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(OutOfMemoryError):
        search_in_memory(Short(), tmp_path, storage=storage)
    search_in_memory(FakeEncoder(), tmp_path, storage=storage)
    assert (pd.read_csv(tmp_path / "trials.csv")["failure"].isna()).all()
