from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from demosearch import Prompt, search
from demosearch.datasets import Pairs
from demosearch.demonstration import Demonstration
from demosearch.errors import DeviceLostError, OutOfMemoryError, UserError
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.rungs import rung_sizes, spread_order
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.selection.searches import DEV, NOISES, Lanes, Layered, open_study, timeless

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_race_encodes_less_and_never_twice(tmp_path: Path) -> None:
    race, exhaustive = FakeEncoder(), FakeEncoder()
    raced = search(race, fake_candidates(NOISES), DEV, folder=tmp_path / "a").file.search
    full = search(
        exhaustive, fake_candidates(NOISES), DEV, folder=tmp_path / "b", strategy="exhaustive"
    ).file.search
    assert full.sentences_encoded == full.sentences_exhaustive == exhaustive.encoded.total()
    assert raced.sentences_exhaustive == full.sentences_exhaustive
    assert raced.sentences_encoded == race.encoded.total() < 0.6 * full.sentences_encoded
    assert max(race.encoded.values()) == 480


def test_a_failing_candidate_is_a_failed_trial_never_a_score(tmp_path: Path) -> None:
    candidates = fake_candidates([*NOISES, "Fail", "Nan"])
    file = search(FakeEncoder(), candidates, DEV, folder=tmp_path).file
    assert file.demonstrations[0].word == "W5"
    table = pd.read_csv(tmp_path / "trials.csv").set_index("word")
    assert table.loc["Fail", "state"] == table.loc["Nan", "state"] == "fail"
    assert table.loc["Fail", "failure"] == "this prompt is too long"
    assert table.loc["Nan", "failure"] == "a similarity is not finite"
    assert table.loc[["Fail", "Nan"], "spearman"].isna().all()


def test_rung_scores_are_of_the_first_pairs_in_order(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path)
    trial = next(
        trial
        for trial in open_study(tmp_path).trials
        if trial.user_attrs["candidate"] == "baseline" and trial.user_attrs["pairs"] == 240
    )
    (similarities,) = PairEncoder(encoder, DEV).similarities(Prompt())
    order = spread_order(DEV.scores, similarities, 0)
    for size, score in trial.intermediate_values.items():
        chosen = order[:size]
        expected = stats.spearmanr(similarities[chosen], [DEV.scores[row] for row in chosen])
        assert score == pytest.approx(100 * expected.statistic, abs=1e-5)
    assert sorted(trial.intermediate_values) == rung_sizes(240)


def test_two_lanes_find_what_one_finds_and_score_nothing_twice(tmp_path: Path) -> None:
    one, two = FakeEncoder(), Lanes()
    files = [
        search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path / name).file
        for name, encoder in (("one", one), ("two", two))
    ]
    assert timeless(files[0]) == timeless(files[1])
    assert one.encoded == two.encoded
    tables = [pd.read_csv(tmp_path / name / "trials.csv") for name in ("one", "two")]
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in tables))


def test_a_lane_that_dies_ends_the_search(tmp_path: Path) -> None:
    class Dying(Lanes):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            if self.encoded.total() > 1000:
                raise DeviceLostError("the process of device 1 was ended")
            return super().encode(texts, prompt)

    with pytest.raises(DeviceLostError, match="device 1"):
        search(Dying(), fake_candidates(NOISES), DEV, folder=tmp_path)
    # Nobody is to blame, so everyone is scored when it goes on.
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)
    assert (pd.read_csv(tmp_path / "trials.csv")["failure"].isna()).all()


def test_the_baselines_rungs_are_the_others_pairs_at_another_layer_too(tmp_path: Path) -> None:
    encoder = Layered()
    search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path, layer=2)
    table = pd.read_csv(tmp_path / "trials.csv").set_index("candidate")
    ours, last = PairEncoder(encoder, DEV).similarities(Prompt(), layers=[2, 4])
    chosen = spread_order(DEV.scores, last, 0)[:50]
    expected = stats.spearmanr(ours[chosen], np.array(DEV.scores)[chosen]).statistic
    assert table.loc["baseline", "spearman_50"] == pytest.approx(100 * expected, abs=1e-5)


def test_skewed_gold_scores_are_no_obstacle(tmp_path: Path) -> None:
    pairs = fake_pairs(100)
    order = np.argsort(pairs.scores)
    scores = np.zeros(100)
    scores[order[-3:]] = 1
    dev = Pairs("skewed", pairs.sentences1, pairs.sentences2, tuple(scores.tolist()))
    file = search(FakeEncoder(), fake_candidates([5, 90, 95]), dev, folder=tmp_path).file
    assert file.demonstrations[0].word == "W5"
    assert np.isfinite(file.estimate.gain)


def test_memory_that_is_short_for_a_while_is_no_candidates_fault(tmp_path: Path) -> None:
    class Short(FakeEncoder):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            if self.encoded.total() > 1000:
                raise OutOfMemoryError("one text does not fit the memory")
            return super().encode(texts, prompt)

    with pytest.raises(OutOfMemoryError):
        search(Short(), fake_candidates(NOISES), DEV, folder=tmp_path)
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)
    assert (pd.read_csv(tmp_path / "trials.csv")["failure"].isna()).all()


def test_too_many_failures_end_the_search(tmp_path: Path) -> None:
    candidates = fake_candidates(NOISES)
    failing = [
        Demonstration(sentence=f"Too long {row}.", word="Fail", source="fake") for row in range(4)
    ]
    with pytest.raises(
        UserError, match=r"of 16 candidates could not be scored, the first because: this prompt"
    ):
        search(FakeEncoder(), [*candidates, *failing], DEV, folder=tmp_path)
