from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from scipy import stats

from demosearch import Prompt, search
from demosearch.datasets import Pairs
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.rungs import FIRST_RUNG, rung_sizes, spread_order
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.selection.searches import DEV, Layered, search_in_memory

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_the_scores_of_a_rung_are_those_of_the_first_pairs_in_order(tmp_path: Path) -> None:
    encoder, storage = FakeEncoder(), optuna.storages.InMemoryStorage()
    search_in_memory(encoder, tmp_path, storage=storage)
    trials = optuna.load_study(study_name="demosearch", storage=storage).trials
    (baseline,) = (trial for trial in trials if trial.user_attrs["candidate"] == "baseline")
    (similarities,) = PairEncoder(encoder, DEV).similarities(Prompt())
    order = spread_order(DEV.scores, similarities, 0)
    for size, score in baseline.intermediate_values.items():
        chosen = order[:size]
        expected = stats.spearmanr(similarities[chosen], [DEV.scores[row] for row in chosen])
        assert score == pytest.approx(100 * expected.statistic, abs=1e-5)
    assert sorted(baseline.intermediate_values) == rung_sizes(240)


def test_the_baseline_is_scored_on_the_same_pairs_at_another_layer(tmp_path: Path) -> None:
    encoder = Layered()
    search_in_memory(encoder, tmp_path, layer=2)
    table = pd.read_csv(tmp_path / "trials.csv").set_index("candidate")
    ours, last = PairEncoder(encoder, DEV).similarities(Prompt(), layers=[2, 4])
    chosen = spread_order(DEV.scores, last, 0)[:FIRST_RUNG]
    expected = stats.spearmanr(ours[chosen], np.array(DEV.scores)[chosen]).statistic
    assert table.loc["baseline", f"spearman_{FIRST_RUNG}"] == pytest.approx(
        100 * expected, abs=1e-5
    )


def test_skewed_gold_scores_are_accepted(tmp_path: Path) -> None:
    pairs = fake_pairs(100)
    order = np.argsort(pairs.scores)
    scores = np.zeros(100)
    scores[order[-3:]] = 1
    dev = Pairs("skewed", pairs.sentences1, pairs.sentences2, tuple(scores.tolist()))
    file = search(FakeEncoder(), fake_candidates([5, 90, 95]), dev, folder=tmp_path).file
    assert file.demonstrations[0].word == "W5"
    assert np.isfinite(file.estimate.gain)
