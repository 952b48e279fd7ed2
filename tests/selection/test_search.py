from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from demosearch import search
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.selection import objective
from demosearch.selection.rungs import rung_sizes
from demosearch.selection.statistics import spearman
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs

DEV = fake_pairs(240)
NOISES = [90, 80, 70, 10, 75, 85, 65, 95, 62, 5, 99, 88]


def open_study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="demosearch", storage=f"sqlite:///{folder / 'study.db'}")


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


def test_one_trial_a_candidate_with_its_text_and_the_baseline(tmp_path: Path) -> None:
    candidates = fake_candidates(NOISES)
    search(FakeEncoder(), candidates, DEV, folder=tmp_path)
    trials = open_study(tmp_path).trials
    assert len(trials) == len(candidates) + 1
    assert trials[0].user_attrs["candidate"] == "baseline"
    assert trials[0].state is optuna.trial.TrialState.COMPLETE
    for candidate, trial in zip(candidates, trials[1:], strict=True):
        attributes = trial.user_attrs
        assert attributes["candidate"] == candidate.id
        assert (attributes["sentence"], attributes["word"]) == (candidate.sentence, candidate.word)
        assert attributes["source"] == candidate.source
        whole = 240 in trial.intermediate_values
        assert trial.state.name == ("COMPLETE" if whole else "PRUNED")


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


class Killed(BaseException):
    """Stands for a kill: nothing in the search may catch it."""


class DyingEncoder(FakeEncoder):
    """Dies after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def encode(self, texts, prompt):  # type: ignore[no-untyped-def]
        self.calls -= 1
        if self.calls < 0:
            raise Killed
        return super().encode(texts, prompt)


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
    assert len(open_study(tmp_path / "killed").trials) == len(NOISES) + 1


def test_the_same_seed_gives_the_same_search(tmp_path: Path) -> None:
    files = [
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path / name, seed=seed).file
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    timeless = [file.model_copy(update={"search": None}) for file in files]
    assert timeless[0] == timeless[1]
    tables = [pd.read_csv(tmp_path / name / "trials.csv").drop(columns="seconds") for name in "abc"]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0]["spearman_50"].equals(tables[2]["spearman_50"])


def test_a_finished_search_is_not_run_again(tmp_path: Path) -> None:
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)
    again = FakeEncoder()
    search(again, fake_candidates(NOISES), DEV, folder=tmp_path)
    assert again.encoded.total() == 0


def test_a_failing_candidate_is_a_failed_trial_never_a_score(tmp_path: Path) -> None:
    candidates = fake_candidates([*NOISES, "Fail", "Nan"])
    file = search(FakeEncoder(), candidates, DEV, folder=tmp_path).file
    assert file.demonstrations[0].word == "W5"
    table = pd.read_csv(tmp_path / "trials.csv").set_index("word")
    assert table.loc["Fail", "state"] == table.loc["Nan", "state"] == "fail"
    assert table.loc["Fail", "failure"] == "this prompt is too long"
    assert table.loc["Nan", "failure"] == "a similarity is not finite"
    assert table.loc[["Fail", "Nan"], "spearman"].isna().all()


def test_dev_and_test_sentences_never_become_demonstrations(tmp_path: Path) -> None:
    leaking = [
        Demonstration(sentence="FIRST 0 7.", word="W1"),
        Demonstration(sentence="Held out.", word="W2"),
    ]
    result = search(
        FakeEncoder(),
        [*fake_candidates(NOISES), *leaking],
        DEV,
        folder=tmp_path,
        exclude=["held out"],
    )
    assert result.skipped == 2
    assert result.file.demonstrations[0].word == "W5"
    with pytest.raises(UserError, match="every candidate's sentence is one of the dev or test"):
        search(FakeEncoder(), leaking[:1], DEV, folder=tmp_path / "none")


def test_no_candidates_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no candidates to choose among"):
        search(FakeEncoder(), [], DEV, folder=tmp_path)


def test_a_folder_of_another_search_is_left_alone(tmp_path: Path) -> None:
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(UserError, match=r"made with another seed \(0, now 1\); use another output"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, seed=1)
    with pytest.raises(UserError, match="made with another candidates"):
        search(FakeEncoder(), fake_candidates(NOISES[:5]), DEV, folder=tmp_path)
    assert (tmp_path / "study.db").read_bytes() == before


def test_a_bad_storage_is_one_line_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        search(
            FakeEncoder(),
            fake_candidates(NOISES),
            DEV,
            folder=tmp_path,
            storage="nosuchdb://me:secret@host/db",
        )
    assert "nosuchdb://host/db" in str(error.value)
    assert "secret" not in str(error.value)


def test_cosine_by_hand() -> None:
    first = np.array([[1, 0], [1, 1], [3, 4]], dtype=np.float32)
    second = np.array([[0, 2], [2, 2], [4, 3]], dtype=np.float32)
    np.testing.assert_allclose(objective.cosine(first, second), [0, 1, 24 / 25], atol=1e-7)


def test_rung_scores_are_of_the_first_pairs_in_order(tmp_path: Path) -> None:
    search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)
    trial = open_study(tmp_path).trials[0]
    similarities = np.load(next(tmp_path.glob("similarities/*/baseline.npy")))
    from demosearch.selection.rungs import stratified_order

    order = stratified_order(DEV.scores, 0)
    for size, score in trial.intermediate_values.items():
        chosen = order[:size]
        assert score == spearman(similarities[chosen], [DEV.scores[row] for row in chosen])
    assert sorted(trial.intermediate_values) == rung_sizes(240)


def test_two_models_in_one_folder_do_not_share_similarities(tmp_path: Path) -> None:
    other = FakeEncoder()
    other.record = other.record.model_copy(update={"revision": "another"})
    for number, encoder in enumerate((FakeEncoder(), other)):
        search(
            encoder,
            fake_candidates(NOISES),
            DEV,
            folder=tmp_path,
            storage=f"sqlite:///{tmp_path / f'{number}.db'}",
        )
    assert len(list(tmp_path.glob("similarities/*/baseline.npy"))) == 2


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
        def encode(self, texts, prompt):  # type: ignore[no-untyped-def]
            self.token_budget = 32
            return super().encode(texts, prompt)

    search(Full(), fake_candidates(NOISES[:3]), DEV, folder=tmp_path)
    again = FakeEncoder()
    search(again, fake_candidates(NOISES[:3]), DEV, folder=tmp_path)
    assert again.token_budget == 32
