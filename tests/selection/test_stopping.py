from __future__ import annotations

import time
from pathlib import Path

import pytest

from demosearch import search
from demosearch.errors import UserError
from demosearch.selection import Center
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES

pytestmark = pytest.mark.usefixtures("fewer_resamples")


@pytest.mark.parametrize("budget", ["1500-sentences", "0.3"])
def test_a_budget_ends_with_the_best_so_far_on_all_pairs(tmp_path: Path, budget: str) -> None:
    encoder = FakeEncoder()
    file = search(
        encoder, fake_candidates(NOISES), DEV, folder=tmp_path, strategy="race", budget=budget
    ).file
    limit = 1500 if "sentences" in budget else 0.3 * file.search.sentences_exhaustive
    # The one that is being scored when it is reached is scored to the end of its rung.
    assert file.search.sentences_encoded == encoder.encoded.total() <= limit + 100
    assert file.search.sentences_encoded < 0.5 * file.search.sentences_exhaustive
    whole = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path / "whole").file
    found = file.demonstrations[0].word
    expected = {one.word: one.spearman for one in whole.ranking}.get(found, file.dev.spearman)
    assert file.dev.spearman == expected
    assert file.dev.pairs == 240


def test_a_search_that_was_cut_short_goes_on_with_more(tmp_path: Path) -> None:
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, budget="1500-sentences")
    on = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path).file
    whole = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path / "whole").file
    assert on.demonstrations == whole.demonstrations
    assert on.dev.spearman == whole.dev.spearman


def test_a_time_that_is_over_ends_the_search(tmp_path: Path) -> None:
    class Slow(FakeEncoder):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            time.sleep(0.05)
            return super().encode(texts, prompt)

    file = search(
        Slow(), fake_candidates(NOISES), DEV, folder=tmp_path, strategy="exhaustive", budget="0.3s"
    ).file
    assert file.search.sentences_encoded < file.search.sentences_exhaustive


def test_patience_ends_when_nothing_better_comes(tmp_path: Path) -> None:
    file = search(
        FakeEncoder(),
        fake_candidates([90, 5, 80, 70, 60, 50, 10, 1]),
        DEV,
        folder=tmp_path,
        strategy="exhaustive",
        patience=3,
    ).file
    assert file.demonstrations[0].word == "W5"
    assert {one.word for one in file.ranking} == {"W90", "W5", "W80", "W70", "W60"}


def test_patience_ends_the_race_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    candidates = fake_candidates([44, 40, 41, 42, 43, 90])
    options = {"ensemble": 3, "patience": 3}
    found = search(
        FakeEncoder(), candidates, DEV, folder=tmp_path / "a", strategy="exhaustive", **options
    )
    assert len(found.prompts) > 1
    assert "ends nothing" not in caplog.text
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path / "b", patience=20)
    assert "patience 20 ends nothing here: only 4 candidates are scored on all pairs" in caplog.text


def test_a_warm_start_is_within_the_budget(tmp_path: Path) -> None:
    warm, rest = fake_candidates([50, 51, 52]), fake_candidates([*NOISES, 30, 31, 32, 33, 34])
    encoder = FakeEncoder()
    file = search(
        encoder, rest, DEV, folder=tmp_path, warm_start=warm, budget="2800-sentences"
    ).file
    assert encoder.encoded.total() <= 2800 + 100
    assert {one.id for one in file.carried_over or []} == {one.id for one in warm}


def test_one_that_was_left_by_a_budget_is_not_said_to_be_corrected(tmp_path: Path) -> None:
    file = search(
        FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, budget="1100-sentences"
    ).file
    assert len(file.ranking) == 1
    assert file.estimate is None


def test_a_budget_holds_for_what_comes_after_the_single_demonstrations_too(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    file = search(
        encoder,
        fake_candidates([40, 41, 42, 43, 90, 95]),
        DEV,
        folder=tmp_path,
        budget="3000-sentences",
        shots=3,
        ensemble=3,
        center=Center("dev", DEV.sentences()),
    ).file
    assert encoder.encoded.total() <= 3000
    assert len(file.prompts) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "soon"}, "budget 'soon': write a time"),
        ({"budget": "0"}, "budget '0': write a time"),
        ({"budget": "0m"}, "budget '0m' is nothing"),
        ({"budget": "100-sentences"}, "100 sentences is too small: the prompt without"),
        ({"patience": 0}, "patience 0: at least 1"),
    ],
)
def test_a_limit_that_makes_no_sense_is_an_error(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
