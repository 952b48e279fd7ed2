from __future__ import annotations

import time
from pathlib import Path

import optuna
import pytest

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.selection import Unlabeled
from demosearch.selection.stopping import Budget, StoppingRule, Unit
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.conftest import use_fewer_resamples
from tests.selection.searches import DEV, NOISES, inputs, search_in_memory

pytestmark = pytest.mark.usefixtures("fewer_resamples")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DemonstrationsFile:
    """The result of a search without a budget."""
    with pytest.MonkeyPatch.context() as patch:
        use_fewer_resamples(patch)
        return search_in_memory(FakeEncoder(), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("budget", ["1500-sentences", "0.3"])
def test_a_budget_ends_with_the_leader_scored_on_all_pairs(
    whole: DemonstrationsFile, tmp_path: Path, budget: str
) -> None:
    encoder = FakeEncoder()
    file = search_in_memory(encoder, tmp_path, budget=budget)
    limit = 1500 if "sentences" in budget else 0.3 * file.search.sentences_exhaustive
    # The candidate that is scored when the limit is reached finishes its rung.
    assert file.search.sentences_encoded == encoder.encoded.total() <= limit + 100
    assert file.search.sentences_encoded < 0.5 * file.search.sentences_exhaustive
    word = file.demonstrations[0].word
    expected = {ranked.word: ranked.spearman for ranked in whole.ranking}
    assert file.dev.spearman == expected.get(word, file.dev.spearman)
    assert file.dev.pairs == 240


def test_a_search_that_was_ended_by_a_budget_is_resumed_without_one(
    whole: DemonstrationsFile, tmp_path: Path
) -> None:
    storage = optuna.storages.InMemoryStorage()
    search_in_memory(FakeEncoder(), tmp_path, storage=storage, budget="1500-sentences")
    resumed = search_in_memory(FakeEncoder(), tmp_path, storage=storage)
    assert resumed.demonstrations == whole.demonstrations
    assert resumed.dev.spearman == whole.dev.spearman


def test_a_time_budget_ends_the_search(tmp_path: Path) -> None:
    class Slow(FakeEncoder):
        def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
            time.sleep(0.05)
            return super().encode(texts, prompt)

    file = search_in_memory(Slow(), tmp_path, strategy="exhaustive", budget="0.3s")
    assert file.search.sentences_encoded < file.search.sentences_exhaustive


def test_patience_ends_the_search_when_no_candidate_is_better(tmp_path: Path) -> None:
    file = search_in_memory(
        FakeEncoder(),
        tmp_path,
        fake_candidates([90, 5, 80, 70, 60, 50, 10, 1]),
        strategy="exhaustive",
        patience=3,
    )
    assert file.demonstrations[0].word == "W5"
    # The prompt without demonstrations is a finalist, too.
    assert {ranked.word for ranked in file.ranking} == {"", "W90", "W5", "W80", "W70", "W60"}


def test_patience_ends_the_race_but_not_the_refinement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = search_in_memory(
        FakeEncoder(),
        tmp_path,
        fake_candidates([44, 40, 41, 42, 43, 90]),
        strategy="exhaustive",
        ensemble=3,
        patience=3,
    )
    assert len(file.prompts) > 1
    assert "no effect" not in caplog.text


def test_patience_without_effect_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search_in_memory(FakeEncoder(), tmp_path, patience=20)
    assert "patience 20 has no effect: only 4 candidates are scored on all pairs" in caplog.text


def test_a_warm_start_is_scored_within_the_budget(tmp_path: Path) -> None:
    warm = tuple(fake_candidates([50, 51, 52]))
    encoder = FakeEncoder()
    file = search_in_memory(
        encoder,
        tmp_path,
        fake_candidates([*NOISES, 30, 31, 32, 33, 34]),
        inputs=inputs(warm_start=warm),
        budget="2800-sentences",
    )
    assert encoder.encoded.total() <= 2800 + 100
    assert {ranked.id for ranked in file.carried_over or []} == {candidate.id for candidate in warm}


def test_a_single_finalist_that_a_budget_leaves_has_no_estimate(tmp_path: Path) -> None:
    file = search_in_memory(FakeEncoder(), tmp_path, budget="1100-sentences")
    assert [row.id for row in file.ranking if row.word] == [file.ranking[-1].id]
    assert file.estimate is None


def test_a_budget_limits_the_refinement_too(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    file = search_in_memory(
        encoder,
        tmp_path,
        fake_candidates([40, 41, 42, 43, 90, 95]),
        inputs=inputs(unlabeled=Unlabeled("dev", DEV.sentences())),
        budget="3000-sentences",
        shots=3,
        ensemble=3,
    )
    assert encoder.encoded.total() <= 3000
    assert len(file.prompts) == 1


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("90s", Budget(Unit.SECONDS, 90)),
        ("1.5h", Budget(Unit.SECONDS, 5400)),
        ("5000-sentences", Budget(Unit.SENTENCES, 5000)),
        ("0.1", Budget(Unit.SHARE, 0.1)),
        ("1", Budget(Unit.SHARE, 1)),
    ],
)
def test_a_budget_is_a_time_a_number_of_sentences_or_a_share(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "soon"}, r"budget.* must be a time \(90s, 10m, 2h\).* but got soon"),
        ({"budget": "0"}, "budget.* must be a time .* but got 0"),
        ({"budget": "0m"}, "budget.* must be greater than 0 but got 0m"),
        ({"budget": "100-sentences"}, "budget must be at least 960 sentences .* but got 100"),
        ({"patience": 0}, "patience.* 1"),
    ],
)
def test_an_invalid_limit_is_an_error(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    folder = tmp_path / "search"
    with pytest.raises(UserError, match=message):
        search_in_memory(FakeEncoder(), folder, **options)
    assert not folder.exists()


def test_a_budget_has_room_until_it_is_reached_or_spent() -> None:
    rule = StoppingRule(Budget(Unit.SHARE, 0.5), exhaustive=1000)
    assert rule.is_limited
    assert rule.has_room(encoded=400, seconds=1, sentences=100)
    assert not rule.has_room(encoded=400, seconds=1, sentences=101)
    rule.is_spent = True
    assert not rule.has_room(encoded=0, seconds=0, sentences=0)


def test_a_time_budget_has_room_for_what_the_speed_so_far_allows() -> None:
    rule = StoppingRule(Budget(Unit.SECONDS, 100))
    assert rule.has_room(encoded=0, seconds=0, sentences=10_000)
    assert rule.has_room(encoded=10, seconds=10, sentences=90)
    assert not rule.has_room(encoded=10, seconds=10, sentences=101)
