from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from demosearch import search
from demosearch.errors import UserError
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import (
    DEV,
    NOISES,
    DyingEncoder,
    Killed,
    Layered,
    TwoThreads,
    open_study,
    timeless,
)

pytestmark = pytest.mark.usefixtures("fewer_resamples")


@pytest.mark.parametrize("strategy", ["race", "exhaustive"])
def test_finds_the_best_candidate(tmp_path: Path, strategy: str) -> None:
    result = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, strategy=strategy)
    file = result.file
    assert file.demonstrations[0].word == "W5"
    assert result.prompt.demonstrations == tuple(file.demonstrations)
    assert file.dev.spearman > file.dev.baseline_spearman
    low, high = file.dev.gain_ci95
    assert low <= file.dev.spearman - file.dev.baseline_spearman <= high
    assert [one.spearman for one in file.ranking] == sorted(
        (one.spearman for one in file.ranking), reverse=True
    )


def test_score_is_the_plain_computation(tmp_path: Path) -> None:
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
def test_a_killed_search_goes_on_without_scoring_twice(
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
    assert not tables[0]["spearman_50"].equals(tables[2]["spearman_50"])


def test_a_finished_search_is_not_run_again(tmp_path: Path) -> None:
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
    # A layer costs no sentence; what is gained is gained over the last layer.
    assert file.layer_curve[3].baseline_spearman == file.dev.baseline_spearman
    alone = search(Layered(), fake_candidates(NOISES), DEV, folder=tmp_path / "last").file
    assert alone.dev.baseline_spearman == file.dev.baseline_spearman
    assert alone.search.sentences_encoded == file.search.sentences_encoded
    assert alone.layer_curve is None


def test_the_baseline_is_at_the_last_layer_whatever_layer_is_searched(tmp_path: Path) -> None:
    last = search(Layered(), fake_candidates(NOISES), DEV, folder=tmp_path / "4").file
    other = search(Layered(), fake_candidates(NOISES), DEV, folder=tmp_path / "2", layer=2).file
    assert other.prompts[0].layer == 2
    assert other.dev.baseline_spearman == last.dev.baseline_spearman
    assert other.dev.spearman < last.dev.spearman


@pytest.mark.parametrize("option", ["shots", "ensemble"])
def test_less_than_one_is_an_error(tmp_path: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"{option} 0: at least 1"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, **{option: 0})  # type: ignore[arg-type]


def test_another_models_best_is_scored_on_all_pairs_whatever_it_is_worth(tmp_path: Path) -> None:
    (warm,) = fake_candidates([97])
    candidates = fake_candidates(NOISES)[1:]
    file = search(FakeEncoder(), candidates, DEV, folder=tmp_path, warm_start=[warm]).file
    (carried,) = file.carried_over
    assert (carried.word, carried.id) == ("W97", warm.id)
    exhaustive = search(
        FakeEncoder(), [warm], DEV, folder=tmp_path / "alone", strategy="exhaustive"
    ).file
    assert carried.spearman == exhaustive.dev.spearman
    assert file.demonstrations[0].word == "W5"
    assert file.search.candidates == len(NOISES)
    assert open_study(tmp_path).trials[1].user_attrs["word"] == "W97"


def test_a_further_round_is_made_after_the_best_and_joins_the_study(tmp_path: Path) -> None:
    asked: list[tuple[int, list[str]]] = []

    def further(number, leading, known):  # type: ignore[no-untyped-def]
        asked.append((number, [one.word for one in leading]))
        assert {one.id for one in leading} <= {one.id for one in known}
        # The same ones again, and a little better ones.
        better = [int(one.word.lstrip("W")) - 4 for one in leading[:3]]
        return [*leading, *fake_candidates(better)]

    arguments = {"candidates": fake_candidates([90, 80, 70, 30, 25, 85]), "dev": DEV, "rounds": 3}
    result = search(FakeEncoder(), **arguments, folder=tmp_path / "a", further=further)
    assert [number for number, _ in asked] == [2, 3]
    assert asked[0][1][0] == "W25"
    assert asked[1][1][0] == "W21"
    assert result.file.demonstrations[0].word == "W17"
    assert result.file.search.sentences_exhaustive == 480 * (1 + result.file.search.candidates)
    keys = [
        (trial.user_attrs["candidate"], trial.user_attrs["pairs"])
        for trial in open_study(tmp_path / "a").trials
    ]
    assert len(set(keys)) == len(keys)
    assert len({name for name, _ in keys}) == 1 + result.file.search.candidates

    # The study keeps what was made, so nobody is asked again.
    again = search(FakeEncoder(), **arguments, folder=tmp_path / "a", further=further)
    assert again.file == result.file
    assert len(asked) == 2


@pytest.mark.parametrize("calls", [3, 12, 17, 22])
def test_a_kill_between_rounds_changes_nothing(tmp_path: Path, calls: int) -> None:
    def further(number, leading, known):  # type: ignore[no-untyped-def]
        return fake_candidates([int(one.word.lstrip("W")) - 3 for one in leading[:3]])

    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "rounds": 2}
    whole = search(FakeEncoder(), **arguments, folder=tmp_path / "a", further=further).file
    with suppress(Killed):
        search(DyingEncoder(calls), **arguments, folder=tmp_path / "b", further=further)
    resumed = search(FakeEncoder(), **arguments, folder=tmp_path / "b", further=further).file
    assert timeless(resumed) == timeless(whole)


def test_two_lanes_make_a_further_round_once(tmp_path: Path) -> None:
    asked = []

    def further(number, leading, known):  # type: ignore[no-untyped-def]
        asked.append(number)
        return fake_candidates([1])

    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "rounds": 2}
    file = search(TwoThreads(), **arguments, folder=tmp_path, further=further).file
    assert file.demonstrations[0].word == "W1"
    assert asked == [2]


def test_rounds_without_what_makes_them_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rounds 2"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, rounds=2)


def test_a_further_round_that_cannot_be_made_ends_the_rounds_not_the_search(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def further(number, leading, known):  # type: ignore[no-untyped-def]
        raise UserError("the server is gone")

    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "rounds": 3}
    result = search(FakeEncoder(), **arguments, folder=tmp_path, further=further)
    assert result.file.demonstrations[0].word == "W5"
    assert "there is no round 2: the server is gone" in caplog.text
    # Nothing was kept of it: it is made once the server is there.
    result = search(
        FakeEncoder(), **arguments, folder=tmp_path, further=lambda *_: fake_candidates([1])
    )
    assert result.file.demonstrations[0].word == "W1"


def test_a_search_that_is_cut_short_makes_no_further_round(tmp_path: Path) -> None:
    def further(number, leading, known):  # type: ignore[no-untyped-def]
        raise AssertionError("nobody pays for what the budget has no room for")

    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "rounds": 2}
    search(FakeEncoder(), **arguments, folder=tmp_path, further=further, budget="0.3")
