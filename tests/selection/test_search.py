from __future__ import annotations

import threading
import time
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from scipy import stats

from demosearch import Embedder, Prompt, search
from demosearch.datasets import Pairs
from demosearch.demonstration import Demonstration, DemonstrationsFile
from demosearch.errors import DeviceLostError, OutOfMemoryError, UserError
from demosearch.selection import Center, statistics
from demosearch.selection.objective import Objective
from demosearch.selection.rungs import rung_sizes, spread_order, survivors
from demosearch.similarity import cosine
from demosearch.templates import TEMPLATES
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs

DEV = fake_pairs(240)
NOISES = [90, 80, 70, 10, 75, 85, 65, 95, 62, 5, 99, 88]


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample as often as is enough here; the statistics have tests of their own."""
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    monkeypatch.setattr(statistics, "SPLITS", 50)


def timeless(file: DemonstrationsFile) -> DemonstrationsFile:
    return file.model_copy(update={"search": file.search.model_copy(update={"seconds": 0})})


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

    def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
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


def test_a_sentence_is_one_of_the_sets_without_its_full_stop_too(tmp_path: Path) -> None:
    leaking = [Demonstration(sentence=DEV.sentences1[0].upper(), word="W1", source="me")]
    assert not leaking[0].sentence.endswith(".")
    result = search(FakeEncoder(), [*leaking, *fake_candidates(NOISES)], DEV, folder=tmp_path)
    assert result.skipped == 1


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


def test_rung_scores_are_of_the_first_pairs_in_order(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path)
    trial = next(
        trial
        for trial in open_study(tmp_path).trials
        if trial.user_attrs["candidate"] == "baseline" and trial.user_attrs["pairs"] == 240
    )
    (similarities,) = Objective(encoder, DEV).similarities(Prompt())
    order = spread_order(DEV.scores, similarities, 0)
    for size, score in trial.intermediate_values.items():
        chosen = order[:size]
        expected = stats.spearmanr(similarities[chosen], [DEV.scores[row] for row in chosen])
        assert score == pytest.approx(100 * expected.statistic, abs=1e-5)
    assert sorted(trial.intermediate_values) == rung_sizes(240)


class Lanes(FakeEncoder):
    """Two lanes that are asked at once, of which the second is slow."""

    lanes = 2

    def compare(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if threading.current_thread().name.endswith("_1"):
            time.sleep(0.01)
        return super().compare(*arguments, **options)


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


class Layered(FakeEncoder):
    """A later layer adds noise to what the demonstration does; the first one says nothing."""

    layers = 4

    def resolve_layer(self, layer: int | None) -> int:
        return 4 if layer is None else layer

    def compare(self, texts, prompt, layers, first, second):  # type: ignore[no-untyped-def]
        plain = super().compare(texts, prompt, [None], first, second)[0]
        noise = [
            zlib.crc32(f"{texts[one]} {texts[two]}".encode())
            for one, two in zip(first, second, strict=True)
        ]
        noise = np.array(noise) / 2**32
        share = {1: 0.5, 2: 0.2, 3: 0.0, 4: 0.1}
        return np.stack([plain + share[layer or 4] * noise for layer in layers]).astype(np.float32)


def test_the_layer_is_chosen_with_the_demonstration(tmp_path: Path) -> None:
    encoder = Layered()
    result = search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path / "auto", layers="auto")
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


def test_the_baselines_rungs_are_the_others_pairs_at_another_layer_too(tmp_path: Path) -> None:
    encoder = Layered()
    search(encoder, fake_candidates(NOISES), DEV, folder=tmp_path, prompt=Prompt(layer=2))
    table = pd.read_csv(tmp_path / "trials.csv").set_index("candidate")
    ours, last = Objective(encoder, DEV).similarities(Prompt(), layers=[2, 4])
    chosen = spread_order(DEV.scores, last, 0)[:50]
    expected = stats.spearmanr(ours[chosen], np.array(DEV.scores)[chosen]).statistic
    assert table.loc["baseline", "spearman_50"] == pytest.approx(100 * expected, abs=1e-5)


def test_the_baseline_is_at_the_last_layer_whatever_layer_is_searched(tmp_path: Path) -> None:
    last = search(Layered(), fake_candidates(NOISES), DEV, folder=tmp_path / "4").file
    other = search(
        Layered(), fake_candidates(NOISES), DEV, folder=tmp_path / "2", prompt=Prompt(layer=2)
    ).file
    assert other.prompts[0].layer == 2
    assert other.dev.baseline_spearman == last.dev.baseline_spearman
    assert other.dev.spearman < last.dev.spearman


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


def test_too_many_failures_end_the_search(tmp_path: Path) -> None:
    candidates = fake_candidates(NOISES)
    failing = [
        Demonstration(sentence=f"Too long {row}.", word="Fail", source="fake") for row in range(4)
    ]
    with pytest.raises(
        UserError, match=r"of 16 candidates could not be scored, the first because: this prompt"
    ):
        search(FakeEncoder(), [*candidates, *failing], DEV, folder=tmp_path)


class Together(FakeEncoder):
    """Two demonstrations are better than one, the better one last; a third one changes nothing."""

    def noise(self, prompt: Prompt, noises: list[float]) -> float:
        if len(noises) == 1:
            return noises[0]
        return min(noises) * (0.3 if noises[-1] == min(noises) else 0.6)


def test_several_demonstrations_are_found_one_after_the_other(tmp_path: Path) -> None:
    encoder = Together()
    noises = [60, 62, 64, 66, 68, 70, 72, 40]
    found = search(encoder, fake_candidates(noises), DEV, folder=tmp_path, shots=3)
    file = found.file
    # A third one does not gain enough, so there are two, in the better order.
    assert len(file.demonstrations) == 2
    assert file.demonstrations[1].word == "W40"
    assert list(found.prompt.demonstrations) == file.demonstrations
    assert file.prompts[0].demonstrations == file.demonstrations
    assert [step.demonstrations for step in file.steps] == [1, 2]
    first, second = file.steps
    assert first.gain == pytest.approx(first.spearman - file.dev.baseline_spearman)
    assert second.gain == pytest.approx(second.spearman - first.spearman)
    assert second.spearman == file.dev.spearman == file.ranking[0].spearman
    assert second.gain_ci95[0] > 0
    assert file.ranking[0].word == " | ".join(one.word for one in file.demonstrations)
    assert file.search.sentences_encoded == encoder.encoded.total()
    alone = search(Together(), fake_candidates(noises), DEV, folder=tmp_path / "1").file
    assert alone.steps is None
    assert alone.dev.spearman == first.spearman


def test_two_lanes_look_for_several_demonstrations_too(tmp_path: Path) -> None:
    class TogetherInLanes(Lanes, Together):
        pass

    files = [
        search(encoder, fake_candidates([60, 62, 40]), DEV, folder=tmp_path / name, shots=2).file
        for name, encoder in (("one", Together()), ("two", TogetherInLanes()))
    ]
    assert len(files[0].demonstrations) == 2
    assert timeless(files[0]) == timeless(files[1])


def test_more_demonstrations_may_be_looked_for_later(tmp_path: Path) -> None:
    noises = [60, 62, 64, 40]
    search(Together(), fake_candidates(noises), DEV, folder=tmp_path)
    encoder = Together()
    on = search(encoder, fake_candidates(noises), DEV, folder=tmp_path, shots=2).file
    assert len(on.demonstrations) == 2
    assert all("+" in name for name in encoder.encoded)


def test_a_stage_that_the_budget_had_room_for_is_part_of_the_answer_for_good(
    tmp_path: Path,
) -> None:
    candidates = fake_candidates([60, 62, 64, 66, 68, 70, 72, 40])
    single, double = (
        search(Together(), candidates, DEV, folder=tmp_path / str(shots), shots=shots).file.search
        for shots in (1, 2)
    )
    further = double.sentences_encoded - single.sentences_encoded
    # There is room for the longer prompts, but not for them once more.
    budget = f"{double.sentences_encoded + further - 1}-sentences"
    files = [
        search(Together(), candidates, DEV, folder=tmp_path / "on", shots=2, budget=budget).file
        for _ in range(2)
    ]
    assert len(files[0].demonstrations) == 2
    assert timeless(files[0]) == timeless(files[1])


def test_longer_prompts_that_cannot_be_scored_leave_what_was_found(
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


def test_prompts_that_err_differently_are_averaged(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    noises = [40, 41, 42, 43, 90, 95]
    result = search(encoder, fake_candidates(noises), DEV, folder=tmp_path, ensemble=3)
    file = result.file
    assert 2 <= len(file.prompts) <= 3
    assert len(result.prompts) == len(file.prompts) == file.steps[-1].prompts
    assert file.demonstrations == [
        one for prompt in result.prompts for one in prompt.demonstrations
    ]
    # The score is that of what the embedder makes of these prompts.
    states = Embedder(encoder, result.prompts).encode
    found = cosine(states(DEV.sentences1), states(DEV.sentences2))
    expected = 100 * stats.spearmanr(found, DEV.scores).statistic
    assert file.dev.spearman == pytest.approx(expected, abs=0.01)
    assert file.dev.spearman > file.ranking[0].spearman
    assert file.steps[-1].spearman == file.dev.spearman
    # Choosing on one half of the pairs is repeated with its prompts, not with one of them.
    assert file.estimate.gain > file.ranking[0].spearman - file.dev.baseline_spearman


class Narrowing(FakeEncoder):
    """Its last layer is narrower, as OPT-350M's; odd words do best there, even ones a layer before."""

    def width(self, layer: int | None) -> int:
        return 3 if layer == 2 else 2

    def encode(self, texts, prompt, *, advance=None):  # type: ignore[no-untyped-def]
        states = super().encode(texts, prompt, advance=advance)
        return np.pad(states, ((0, 0), (0, self.width(prompt.layer) - 2)))

    def compare(self, texts, prompt, layers, first, second):  # type: ignore[no-untyped-def]
        (plain,) = super().compare(texts, replace(prompt, layer=3), [3], first, second)
        best = 3 if prompt.demonstrations and prompt.demonstrations[0].word in ("W41", "W43") else 2
        return np.stack([plain if layer == best else plain**9 - plain for layer in layers])


def test_prompts_whose_layers_differ_in_width_are_not_averaged(tmp_path: Path) -> None:
    candidates = fake_candidates([42, 44, 41, 43])
    result = search(Narrowing(), candidates, DEV, folder=tmp_path, layers="auto", ensemble=4)
    ranked = {one.layer for one in result.file.ranking}
    assert ranked == {2, 3}
    assert [prompt.layer for prompt in result.prompts] == [result.file.ranking[0].layer] * 2


def test_an_ensemble_that_was_computed_is_not_computed_again(tmp_path: Path) -> None:
    arguments = {"candidates": fake_candidates([40, 41, 42, 43]), "dev": DEV, "ensemble": 3}
    first = search(FakeEncoder(), **arguments, folder=tmp_path).file
    again = FakeEncoder()
    second = search(again, **arguments, folder=tmp_path).file
    assert again.encoded.total() == 0
    assert second == first
    assert not list(tmp_path.rglob("*.states.npz"))


def test_a_kill_among_the_prompts_of_an_ensemble_costs_one_of_them(tmp_path: Path) -> None:
    arguments = {"candidates": fake_candidates([40, 41, 42, 43]), "dev": DEV, "ensemble": 3}
    whole = FakeEncoder()
    expected = search(whole, **arguments, folder=tmp_path / "whole").file
    search(FakeEncoder(), **(arguments | {"ensemble": 1}), folder=tmp_path / "killed")
    dying, second = DyingEncoder(2), FakeEncoder()
    with suppress(Killed):
        search(dying, **arguments, folder=tmp_path / "killed")
    found = search(second, **arguments, folder=tmp_path / "killed").file
    assert timeless(found) == timeless(expected)
    # Four prompts, of which two were done.
    assert (dying.encoded.total(), second.encoded.total()) == (2 * 480, 2 * 480)


@pytest.mark.parametrize("option", ["shots", "ensemble"])
def test_less_than_one_is_an_error(tmp_path: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"{option} 0: at least 1"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, **{option: 0})  # type: ignore[arg-type]


class Shifted(FakeEncoder):
    """States of any length, all shifted the same way, as a language model's are."""

    def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
        lengths = np.array([0.2 + zlib.crc32(text.encode()) / 2**32 for text in texts])
        states = super().encode(texts, prompt) * lengths[:, None].astype(np.float32)
        return states + np.array([1, -1], dtype=np.float32)


# All directions, so that their mean is the shift.
AROUND = [f"text {angle / 5} 0" for angle in range(100)]


def test_the_mean_of_given_texts_is_subtracted_if_that_pays(tmp_path: Path) -> None:
    encoder = Shifted()
    center = Center("lines.txt", AROUND)
    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "folder": tmp_path}
    result = search(encoder, **arguments, center=center)
    file = result.file
    assert file.postprocess.fitted_on == "lines.txt"
    assert file.postprocess.texts == 100
    assert file.steps[-1].centered
    assert file.steps[-1].spearman == file.dev.spearman > file.ranking[0].spearman
    assert file.mean == pytest.approx(encoder.encode(AROUND, result.prompt).mean(0), abs=1e-6)
    # As it is written and read again, it gives the score that is in it.
    file.write(tmp_path / "best.json")
    read = DemonstrationsFile.read(tmp_path / "best.json")
    states = Embedder(encoder, result.prompts, mean=read.mean).encode
    found = cosine(states(DEV.sentences1), states(DEV.sentences2))
    expected = 100 * stats.spearmanr(found, DEV.scores).statistic
    assert read.dev.spearman == pytest.approx(expected, abs=0.01)
    again = Shifted()
    assert search(again, **arguments, center=center).file.dev == file.dev
    assert again.encoded.total() == 0


def test_a_mean_that_does_not_pay_is_left_out(tmp_path: Path) -> None:
    far = Center("far", ["text 0 0", "text 0.1 1"])
    file = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, center=far).file
    assert file.postprocess is None
    assert file.mean is None
    with pytest.raises(UserError, match="far holds no texts"):
        Center("far", [])


def test_a_mean_that_is_gone_or_anothers_is_an_error(tmp_path: Path) -> None:
    center = Center("lines", AROUND)
    file = search(Shifted(), fake_candidates(NOISES), DEV, folder=tmp_path, center=center).file
    file.write(tmp_path / "a.json")
    file.with_mean(np.zeros(2, dtype=np.float32), "zeros", 1).write(tmp_path / "b.json")
    (tmp_path / "a.safetensors").rename(tmp_path / "kept")
    with pytest.raises(UserError, match=r"a\.safetensors, which belongs beside"):
        DemonstrationsFile.read(tmp_path / "a.json")
    (tmp_path / "b.safetensors").rename(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="is another demonstrations file's"):
        DemonstrationsFile.read(tmp_path / "a.json")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="does not hold a mean embedding"):
        DemonstrationsFile.read(tmp_path / "a.json")


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


class Worded(FakeEncoder):
    """The template of knowledge enhancement is the better one, with a demonstration."""

    def noise(self, prompt: Prompt, noises: list[float]) -> float:
        return noises[0] * (0.5 if prompt.template.name == "knowledge" else 1)


def test_the_template_is_chosen_with_the_demonstration(tmp_path: Path) -> None:
    templates = [TEMPLATES["knowledge"], TEMPLATES["echo"]]
    file = search(
        Worded(), fake_candidates([40, 50, 60]), DEV, folder=tmp_path, templates=templates
    ).file
    assert file.prompts[0].template == "knowledge"
    assert file.prompts[0].query == TEMPLATES["knowledge"].query
    assert file.demonstrations[0].word == "W40"
    table = pd.read_csv(tmp_path / "trials.csv")
    # Three candidates under two templates, both other templates alone, and the baseline.
    assert len(table) == 3 * 2 + 2 + 1
    alone = table[table["candidate"].isin(["none@knowledge", "none@echo"])]
    assert sorted(alone["template"]) == ["echo", "knowledge"]
    assert file.ranking[0].template == "knowledge"
    assert file.ranking[0].id == f"{file.demonstrations[0].id}@knowledge"


def test_what_cannot_be_told_apart_is_said(tmp_path: Path) -> None:
    file = search(
        FakeEncoder(),
        fake_candidates([5, 6, 99, 95, 90]),
        DEV,
        folder=tmp_path,
        strategy="exhaustive",
    ).file
    second = file.ranking[1]
    assert second.word in ("W5", "W6")
    assert file.dev.indistinguishable in ([], [second.id])
    assert file.dev.runner_up_ci95 is not None
    assert (file.dev.runner_up_ci95[0] <= 0) == (second.id in file.dev.indistinguishable)


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


def test_the_mean_over_several_sets_decides(tmp_path: Path) -> None:
    dev = Pairs.joined([DEV, fake_pairs(60, seed=9)])
    file = search(FakeEncoder(), fake_candidates(NOISES), dev, folder=tmp_path).file
    assert file.demonstrations[0].word == "W5"
    prompt = Prompt(demonstrations=tuple(file.demonstrations))
    (whole,) = Objective(FakeEncoder(), dev).similarities(prompt)
    parts = (whole[:240], dev.scores[:240]), (whole[240:], dev.scores[240:])
    expected = np.mean([100 * stats.spearmanr(*each).statistic for each in parts])
    assert file.dev.spearman == pytest.approx(expected, abs=1e-4)
    assert file.dev.score is None
    assert file.dev.pairs == 300


def test_another_metric_decides_and_is_shown_beside_spearmans(tmp_path: Path) -> None:
    file = search(
        FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, metric="pearson"
    ).file
    (ours,) = Objective(FakeEncoder(), DEV).similarities(
        Prompt(demonstrations=tuple(file.demonstrations))
    )
    expected = 100 * stats.pearsonr(ours.astype(float), DEV.scores).statistic
    assert file.dev.score == file.ranking[0].score == pytest.approx(expected, abs=1e-4)
    assert file.dev.spearman == pytest.approx(
        100 * stats.spearmanr(ours, DEV.scores).statistic, abs=1e-4
    )
    assert file.dev.gain == file.dev.score - file.dev.baseline_score  # type: ignore[operator]
    low, high = file.dev.gain_ci95
    assert low <= file.dev.gain <= high
    assert file.search.metric == "pearson"
    table = pd.read_csv(tmp_path / "trials.csv")
    assert table["pearson"][0] == pytest.approx(expected, abs=1e-4)
    assert open_study(tmp_path).best_value == pytest.approx(expected, abs=1e-4)
    with pytest.raises(UserError, match="another metric"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)


def long_candidates() -> list[Demonstration]:
    """Candidates of which the longer ones are better."""
    return [
        Demonstration(sentence="word " * length + "end.", word=f"W{90 - length * 5}")
        for length in range(1, 16)
    ]


def test_prompts_that_are_too_long_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "demosearch")
    encoder = FakeEncoder()
    plain = encoder.prompt_tokens(Prompt())
    lengths = {
        one.word: encoder.prompt_tokens(Prompt(demonstrations=(one,))) - plain
        for one in long_candidates()
    }
    most = lengths["W60"]
    file = search(
        encoder, long_candidates(), DEV, folder=tmp_path, max_extra_tokens=most, shots=2
    ).file
    assert file.demonstrations[0].word == "W60"
    assert set(encoder.encoded) == {word for word, length in lengths.items() if length <= most}
    assert "prompts have more than" in caplog.text
    assert file.ranking[0].tokens == most
    with pytest.raises(UserError, match="every candidate has more than 0 tokens"):
        search(encoder, long_candidates(), DEV, folder=tmp_path / "none", max_extra_tokens=0)


def test_a_prompt_of_every_length_is_found(tmp_path: Path) -> None:
    result = search(FakeEncoder(), long_candidates(), DEV, folder=tmp_path, pareto=True)
    front = result.file.pareto
    assert front is not None
    # Every longer prompt is better, and those shorter ones that are worse than none are not in it.
    assert front[0].id == "baseline"
    assert front[-1].word == result.file.demonstrations[0].word == "W15"
    tokens = [one.tokens for one in front]
    # All of the front on the last rung but one stayed in the race.
    assert len(front) > 6
    scores = [one.spearman for one in front]
    assert tokens == sorted(set(tokens))
    assert scores == sorted(set(scores))
    study = open_study(tmp_path)
    assert [len(trial.values) for trial in study.best_trials] == [2] * len(study.best_trials)
    assert {trial.user_attrs["candidate"] for trial in study.best_trials} == {
        one.id for one in front
    }


def test_similarities_are_kept_on_request(tmp_path: Path) -> None:
    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "folder": tmp_path}
    file = search(FakeEncoder(), **arguments, save_similarities=True).file
    search(FakeEncoder(), **arguments, save_similarities=True)
    kept = np.load(tmp_path / "similarities.npz", allow_pickle=False)
    assert kept["names"].tolist() == ["baseline", *(one.id for one in file.ranking)]
    assert kept["similarities"].dtype == np.float16
    best = kept["similarities"][1, 0].astype(float)
    assert 100 * stats.spearmanr(best, DEV.scores).statistic == pytest.approx(
        file.dev.spearman, abs=0.5
    )
    assert str(kept["dev_sha256"]) == DEV.sha256
    artifacts = optuna.artifacts.get_all_artifact_meta(open_study(tmp_path))
    assert [each.filename for each in artifacts] == ["similarities.npz"]


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
    file = search(Lanes(), **arguments, folder=tmp_path, further=further).file
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


def test_a_warm_start_that_is_too_long_is_left_out_like_others(tmp_path: Path) -> None:
    long = Demonstration(sentence="word " * 60 + "end.", word="W2")
    file = search(
        FakeEncoder(),
        fake_candidates(NOISES),
        DEV,
        folder=tmp_path,
        warm_start=[long],
        max_extra_tokens=30,
        budget="0.3",
    ).file
    assert file.demonstrations[0].word != "W2"
    assert file.carried_over is None
