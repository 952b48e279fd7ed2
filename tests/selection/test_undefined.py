"""Searches in which similarities are zero, equal or not finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from demosearch import search
from demosearch.datasets import Pairs
from demosearch.errors import NotFiniteError, UserError
from demosearch.metrics.metric import PEARSON, _metric_of
from demosearch.postprocess import Unlabeled
from demosearch.prompt import Prompt
from demosearch.selection import Objective
from demosearch.selection.ensemble import InnerProducts
from demosearch.selection.gain import gain_on, read_evaluation
from demosearch.selection.steps import System
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.selection.searches import DEV, NOISES, Layered, inputs, search_in_memory

pytestmark = pytest.mark.usefixtures("fewer_resamples")


class WithZeros(FakeEncoder):
    """The states of the second sentences of three pairs are zero."""

    def encode(self, texts: Sequence[str], prompt: Prompt, *, advance: object = None) -> np.ndarray:
        states = super().encode(texts, prompt, advance=advance)
        rows = [index for index, text in enumerate(texts) if text in DEV.sentences2[:3]]
        states[rows] = 0
        return states


class ConstantLastLayer(Layered):
    """All similarities of the last layer are equal."""

    def compare(self, texts, prompt, layers, first, second):  # type: ignore[no-untyped-def]
        similarities = super().compare(texts, prompt, layers, first, second)
        similarities[[layer in (4, None) for layer in layers]] = 0.5
        return similarities


def test_vectors_of_zeros_fail_no_candidate_and_are_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = search(WithZeros(), fake_candidates(NOISES), DEV, folder=tmp_path, ensemble=2).file
    assert pd.read_csv(tmp_path / "trials.csv")["failure"].isna().all()
    assert file.demonstrations[0].word == "W5"
    messages = [message for message in caplog.messages if "is exactly 0" in message]
    assert messages == [
        "fake: the similarity of 3 of 240 pairs is exactly 0; an embedding of zeros has similarity 0"
        " with every embedding"
    ]


def test_an_ensemble_of_zeros_has_similarity_0() -> None:
    one, zero = np.ones((1, 1, 2), dtype=np.float32), np.zeros((1, 1, 2), dtype=np.float32)
    np.testing.assert_array_equal(InnerProducts(zero, zero, one).similarities([0]), [0, 0])
    np.testing.assert_array_equal(InnerProducts(one, one, one).similarities([0]), [1, 1])


def test_a_baseline_without_a_score_at_the_last_layer_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be scored on these pairs because: no spearman"):
        search_in_memory(ConstantLastLayer(), tmp_path, layer=3)


def test_a_baseline_that_is_not_finite_ends_the_search(tmp_path: Path) -> None:
    class NotFinite(FakeEncoder):
        def noise(self, prompt: Prompt, noises: list[float]) -> float:
            return noises[0] if prompt.demonstrations else float("nan")

    reason = "because: a similarity is not finite, the first one that of fake, pair 1"
    with pytest.raises(UserError, match=reason):
        search_in_memory(NotFinite(), tmp_path)


def test_a_corrected_gain_that_no_half_of_the_pairs_has_is_null() -> None:
    # One gold score differs, so that it is missing in one half of any split.
    names = ("",) * 12
    objective = Objective(Pairs("p", names, names, (1.0, *(0.0,) * 11)))
    similarities = np.random.default_rng(0).random((2, 12)).astype(np.float32)
    choose = objective.best_of(similarities)
    assert objective.split_estimate(choose, similarities[1]) is None
    with pytest.raises(UserError, match="p: no resample of these"):
        objective.interval(np.ones(12, dtype=np.float32), similarities[0])


def test_a_search_without_a_corrected_gain_has_none_in_its_file(tmp_path: Path) -> None:
    pairs = fake_pairs(12)
    dev = Pairs("p", pairs.sentences1, pairs.sentences2, (1.0, *(0.0,) * 11))
    file = search(FakeEncoder(), fake_candidates([5, 30]), dev, folder=tmp_path).file
    assert file.estimate is None
    file.write(tmp_path / "demonstrations.json")
    assert "NaN" not in (tmp_path / "demonstrations.json").read_text()


def test_test_pairs_without_a_score_are_refused() -> None:
    pairs = fake_pairs(12)
    same = ("first 0 1",) * 12
    equal = Pairs("test", same, same, pairs.scores)
    with pytest.raises(UserError, match="test: no spearman of the similarities; are they"):
        gain_on(equal, FakeEncoder(), [System((Prompt(),))], [])


def test_a_metric_of_the_user_has_no_score_of_equal_similarities() -> None:
    metric = _metric_of("always", lambda similarities, gold: 1.0)
    similarities = np.array([[0.5, 0.5, 0.5], [0.1, 0.2, 0.3]], dtype=np.float32)
    np.testing.assert_array_equal(metric.score(similarities, np.arange(3.0)), [np.nan, 1.0])
    assert np.isnan(PEARSON.score(similarities, np.arange(3.0))[0])


def test_a_similarity_of_one_s_own_encoder_names_the_pair_of_its_set(tmp_path: Path) -> None:
    sets = [replace(DEV, name="a"), replace(fake_pairs(30, seed=1), name="b")]

    class NotFinite(FakeEncoder):
        def compare(self, texts, prompt, layers, first, second):  # type: ignore[no-untyped-def]
            similarities = super().compare(texts, prompt, layers, first, second)
            similarities[:, [texts[row] == sets[1].sentences2[6] for row in second]] = np.inf
            return similarities

    with pytest.raises(UserError, match="the first one that of b, pair 7"):
        search(NotFinite(), fake_candidates(NOISES), Pairs.joined(sets), folder=tmp_path)


def test_a_state_of_one_s_own_encoder_names_the_text(tmp_path: Path) -> None:
    class NotFinite(FakeEncoder):
        def encode(self, texts, prompt, *, advance=None):  # type: ignore[no-untyped-def]
            states = super().encode(texts, prompt, advance=advance)
            states[[text.startswith("odd") for text in texts]] = np.nan
            return states

    odd = replace(DEV, sentences1=(*DEV.sentences1[:11], "odd 0 1", *DEV.sentences1[12:]))
    with pytest.raises(NotFiniteError, match=r"^fake, pair 12: the embedding of 'odd 0 1' is not"):
        gain_on(odd, NotFinite(), [System((Prompt(),))], [])
    unlabeled = Unlabeled("my texts", ("first 0 1", "second 1 2", "odd 1 2"))
    with pytest.raises(NotFiniteError, match=r"^my texts, text 3: the embedding of 'odd 1 2'"):
        search_in_memory(
            NotFinite(), tmp_path, postprocess="whiten", inputs=inputs(unlabeled=unlabeled)
        )


@pytest.mark.parametrize("value", ["null", "NaN", "1e999"])
def test_a_score_that_is_missing_in_an_evaluation_is_named(tmp_path: Path, value: str) -> None:
    gain = gain_on(DEV, FakeEncoder(), [System((Prompt(),))], [])
    path = tmp_path / "evaluation.json"
    text = gain.model_dump_json()
    path.write_text(f'{{"test": {text}}}')
    assert read_evaluation(path)["test"]["spearman"] == gain.spearman
    path.write_text(f'{{"test": {text.replace(str(gain.spearman), value, 1)}}}')
    with pytest.raises(UserError, match=r"test.spearman must be a .*; delete the file and re-run"):
        read_evaluation(path)
