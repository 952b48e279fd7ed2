from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from demosearch import search
from demosearch.errors import UserError
from demosearch.selection import SearchInputs
from demosearch.selection.rungs import FIRST_RUNG
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import (
    DEV,
    NOISES,
    DyingEncoder,
    Killed,
    Layered,
    open_study,
    timeless,
)

pytestmark = pytest.mark.usefixtures("fewer_resamples")


@pytest.mark.parametrize("strategy", ["race", "exhaustive"])
def test_the_best_candidate_is_found(tmp_path: Path, strategy: str) -> None:
    result = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, strategy=strategy)
    file = result.file
    assert file.demonstrations[0].word == "W5"
    assert result.prompt.demonstrations == tuple(file.demonstrations)
    assert file.dev.spearman > file.dev.baseline_spearman
    low, high = file.dev.gain_ci95
    assert low <= file.dev.spearman - file.dev.baseline_spearman <= high
    assert [row.spearman for row in file.ranking] == sorted(
        (row.spearman for row in file.ranking), reverse=True
    )


def test_the_score_agrees_with_pandas(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    file = search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path).file
    prompt = search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path).prompt
    first = encoder.encode(DEV.sentences1, prompt)
    second = encoder.encode(DEV.sentences2, prompt)
    cosines = (
        (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    )
    expected = pd.Series(cosines).corr(pd.Series(DEV.scores), method="spearman") * 100
    assert file.dev.spearman == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("strategy", ["race", "exhaustive"])
@pytest.mark.parametrize("calls", [0, 1, 7, 13, 19])
def test_a_killed_search_is_resumed_without_scoring_anything_twice(
    tmp_path: Path, strategy: str, calls: int
) -> None:
    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "strategy": strategy}
    whole = search(FakeEncoder(), **arguments, folder=tmp_path / "whole").file
    dying, second = DyingEncoder(calls), FakeEncoder()
    with suppress(Killed):
        search(dying, **arguments, folder=tmp_path / "killed")
    resumed = search(second, **arguments, folder=tmp_path / "killed").file
    for field in ("prompts", "dev", "estimate", "ranking"):
        assert getattr(resumed, field) == getattr(whole, field), field
    assert dying.encoded.total() + second.encoded.total() == whole.search.sentences_encoded
    assert resumed.search.sentences_encoded == whole.search.sentences_encoded
    keys = [
        (trial.user_attrs["candidate"], trial.user_attrs["pairs"])
        for trial in open_study(tmp_path / "killed").trials
    ]
    assert len(set(keys)) == len(keys) == len(open_study(tmp_path / "whole").trials)


def test_the_same_seed_gives_the_same_search(tmp_path: Path) -> None:
    files = [
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path / name, seed=seed).file
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert timeless(files[0]) == timeless(files[1])
    tables = [pd.read_csv(tmp_path / name / "trials.csv").drop(columns="seconds") for name in "abc"]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    first = f"spearman_{FIRST_RUNG}"
    assert not tables[0][first].equals(tables[2][first])


def test_a_finished_search_encodes_nothing_when_called_again(tmp_path: Path) -> None:
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)
    again = FakeEncoder()
    search(again, fake_candidates(NOISES), DEV, folder=tmp_path)
    assert again.encoded.total() == 0


def test_the_layer_is_chosen_with_the_demonstration(tmp_path: Path) -> None:
    encoder = Layered()
    result = search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path / "auto", layer="auto")
    file = result.file
    assert (file.prompts[0].layer, result.prompt.layer) == (3, 3)
    assert file.layer_curve is not None
    assert [row.layer for row in file.layer_curve] == [1, 2, 3, 4]
    scores = [row.spearman for row in file.layer_curve]
    assert max(scores) == scores[2] == file.dev.spearman == file.ranking[0].spearman
    # More layers encode no more sentences. The gain is over the last layer.
    assert file.layer_curve[3].baseline_spearman == file.dev.baseline_spearman
    alone = search(Layered(), fake_candidates(NOISES), DEV, folder=tmp_path / "last").file
    assert alone.dev.baseline_spearman == file.dev.baseline_spearman
    assert alone.search.sentences_encoded == file.search.sentences_encoded
    assert alone.layer_curve is None


def test_the_baseline_is_at_the_last_layer_for_any_layer_setting(tmp_path: Path) -> None:
    last = search(Layered(), fake_candidates(NOISES), DEV, folder=tmp_path / "4").file
    other = search(Layered(), fake_candidates(NOISES), DEV, folder=tmp_path / "2", layer=2).file
    assert other.prompts[0].layer == 2
    assert other.dev.baseline_spearman == last.dev.baseline_spearman
    assert other.dev.spearman < last.dev.spearman


@pytest.mark.parametrize("option", ["shots", "ensemble"])
def test_a_number_below_one_is_an_error(tmp_path: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"^{option} must be an integer >= 1 but got 0$"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, **{option: 0})


def test_an_unknown_setting_is_an_error_that_suggests_the_known_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^unknown setting 'shot'; did you mean 'shots'\?$"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, shot=2)


def test_a_warm_start_is_scored_on_all_pairs_even_if_it_is_bad(tmp_path: Path) -> None:
    (warm,) = fake_candidates([97])
    candidates, inputs = fake_candidates(NOISES)[1:], SearchInputs(warm_start=(warm,))
    file = search(FakeEncoder(), candidates, DEV, folder=tmp_path, inputs=inputs).file
    (carried,) = file.carried_over
    assert (carried.word, carried.id) == ("W97", warm.id)
    exhaustive = search(
        FakeEncoder(), [warm], DEV, folder=tmp_path / "alone", strategy="exhaustive"
    ).file
    assert carried in exhaustive.ranking
    assert file.demonstrations[0].word == "W5"
    assert file.search.candidates == len(NOISES)
    assert open_study(tmp_path).trials[1].user_attrs["word"] == "W97"
