"""Searches in which similarities are zero, equal or not finite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from demosearch import search
from demosearch.datasets import Pairs
from demosearch.errors import UserError
from demosearch.metrics.metric import PEARSON, _metric_of
from demosearch.prompt import Prompt
from demosearch.selection import Objective
from demosearch.selection.ensemble import InnerProducts
from demosearch.selection.gain import gain_on
from demosearch.selection.steps import System
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.selection.searches import DEV, NOISES, Layered, search_in_memory

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

    with pytest.raises(UserError, match="because: a similarity is not finite"):
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
