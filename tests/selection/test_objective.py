from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from demosearch import Prompt, search
from demosearch.datasets import Pairs
from demosearch.errors import UserError
from demosearch.metrics.correlation import spearman
from demosearch.selection import Objective
from demosearch.selection.pair_encoder import PairEncoder
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.selection.searches import DEV, NOISES, open_study


def objective_of(gold: list[float], seed: int = 0) -> Objective:
    names = ("",) * len(gold)
    return Objective(Pairs("p", names, names, tuple(gold)), seed=seed)


def sets(*golds: np.ndarray) -> Pairs:
    return Pairs.joined([objective_of(list(gold)).pairs for gold in golds])


def sample(
    seed: int, noise_ours: float, noise_baseline: float, pairs: int = 400
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    generator = np.random.default_rng(seed)
    gold = generator.uniform(0, 5, pairs)
    ours = (gold + noise_ours * generator.normal(size=pairs)).astype(np.float32)
    baseline = (gold + noise_baseline * generator.normal(size=pairs)).astype(np.float32)
    return ours, baseline, list(gold)


def test_the_interval_agrees_with_a_plain_loop() -> None:
    ours, baseline, gold = sample(1, 1.0, 2.0)
    low, high = objective_of(gold, seed=3).interval(ours, baseline)
    generator = np.random.default_rng(99)
    gains = []
    for _ in range(1000):
        chosen = generator.integers(0, len(gold), len(gold))
        gains.append(
            spearman(ours[chosen], np.array(gold)[chosen])
            - spearman(baseline[chosen], np.array(gold)[chosen])
        )
    expected = np.percentile(gains, [2.5, 97.5])
    # The interval is 15 points wide; its bounds are estimates.
    np.testing.assert_allclose([low, high], expected, atol=1.0)
    assert objective_of(gold, seed=3).interval(ours, baseline) == (low, high)


def test_the_interval_of_equal_systems_is_zero() -> None:
    ours, _, gold = sample(2, 1.0, 1.0)
    assert objective_of(gold).interval(ours, ours) == (0.0, 0.0)


def test_the_estimate_corrects_for_choosing_the_best_of_many_equals() -> None:
    generator = np.random.default_rng(4)
    gold = generator.uniform(0, 5, 100)
    candidates = (gold + 2 * generator.normal(size=(60, 100))).astype(np.float32)
    baseline = (gold + 2 * generator.normal(size=100)).astype(np.float32)
    best = max(spearman(row, list(gold)) for row in candidates) - spearman(baseline, list(gold))
    mean = np.mean([spearman(row, list(gold)) for row in candidates]) - spearman(
        baseline, list(gold)
    )
    objective = objective_of(list(gold))
    estimate, (low, high) = objective.split_estimate(objective.best_of(candidates), baseline)
    # All candidates are equally good, so the true gain is near their mean, not near the best.
    assert abs(estimate - mean) < abs(estimate - best)
    assert low < estimate < high


def test_several_sets_have_equal_weight_at_any_size_and_scale() -> None:
    generator = np.random.default_rng(5)
    golds = [generator.uniform(0, 1, 30), generator.uniform(0, 100, 200)]
    similarities = [(gold + gold.std() * generator.normal(size=len(gold))) for gold in golds]
    score = Objective(sets(*golds)).score(np.concatenate(similarities))
    scores = [
        100 * stats.spearmanr(*both).statistic for both in zip(similarities, golds, strict=True)
    ]
    assert score == pytest.approx(np.mean(scores), abs=1e-5)
    pooled = stats.spearmanr(np.concatenate(similarities), np.concatenate(golds)).statistic
    assert abs(score - 100 * pooled) > 1


def test_joining_one_set_returns_it_unchanged() -> None:
    pairs = objective_of([1.0, 2.0]).pairs
    assert Pairs.joined([pairs]) is pairs
    joined = sets(np.arange(3), np.arange(4))
    assert joined.name == "p+p"
    assert joined.set_sizes == (3, 4)
    assert joined.sha256 != objective_of(list(joined.scores)).pairs.sha256


def test_the_sets_take_turns_in_the_order_of_the_pairs() -> None:
    generator = np.random.default_rng(6)
    golds = [generator.uniform(0, 5, 40), generator.uniform(0, 5, 100)]
    objective = Objective(sets(*golds))
    order = objective.order(generator.normal(size=140).astype(np.float32))
    assert sorted(order) == list(range(140))
    assert np.count_nonzero(order[:30] < 40) == 15
    # The first pairs are spread over the scores of each set.
    for begin, gold in ((0, golds[0]), (40, golds[1])):
        chosen = [row - begin for row in order[:32] if 0 <= row - begin < len(gold)]
        quartiles = np.searchsorted(np.quantile(gold, [0.25, 0.5, 0.75]), gold[chosen])
        assert set(np.bincount(quartiles, minlength=4)) <= {3, 4, 5}


def test_the_interval_over_sets_agrees_with_a_plain_loop() -> None:
    generator = np.random.default_rng(7)
    golds = [generator.uniform(0, 1, 60), generator.uniform(0, 9, 150)]
    ours, theirs = (
        [gold + scale * gold.std() * generator.normal(size=len(gold)) for gold in golds]
        for scale in (1.0, 1.5)
    )
    low, high = Objective(sets(*golds)).interval(np.concatenate(ours), np.concatenate(theirs))
    gains = []
    for _ in range(1500):
        gain = 0.0
        for gold, one, other in zip(golds, ours, theirs, strict=True):
            rows = generator.integers(0, len(gold), len(gold))
            gain += spearman(one[rows], gold[rows]) - spearman(other[rows], gold[rows])
        gains.append(gain / 2)
    np.testing.assert_allclose([low, high], np.percentile(gains, [2.5, 97.5]), atol=1.0)


def test_pairs_with_equal_gold_scores_cannot_be_scored() -> None:
    objective = Objective(sets(np.array([1.0, 2.0]), np.array([3.0, 4.0, 4.0])))
    assert objective.can_score(np.array([0, 1, 2, 3]))
    assert not objective.can_score(np.array([0, 1, 3, 4]))
    assert not objective.can_score(np.array([0, 1]))


@pytest.mark.usefixtures("fewer_resamples")
def test_the_mean_over_several_sets_is_the_objective(tmp_path: Path) -> None:
    dev = Pairs.joined([DEV, fake_pairs(60, seed=9)])
    file = search(FakeEncoder(), fake_candidates(NOISES), dev, folder=tmp_path).file
    assert file.demonstrations[0].word == "W5"
    prompt = Prompt(demonstrations=tuple(file.demonstrations))
    (whole,) = PairEncoder(FakeEncoder(), dev).similarities(prompt)
    parts = (whole[:240], dev.scores[:240]), (whole[240:], dev.scores[240:])
    expected = np.mean([100 * stats.spearmanr(*each).statistic for each in parts])
    assert file.dev.spearman == pytest.approx(expected, abs=1e-4)
    assert file.dev.score is None
    assert file.dev.pairs == 300


@pytest.mark.usefixtures("fewer_resamples")
def test_another_metric_is_the_objective_and_both_scores_are_reported(tmp_path: Path) -> None:
    file = search(
        FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path, metric="pearson"
    ).file
    (ours,) = PairEncoder(FakeEncoder(), DEV).similarities(
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
    with pytest.raises(UserError, match=r"made with different settings \(metric was"):
        search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)


@pytest.mark.parametrize("sizes", [(400,), (150, 250)], ids=["one set", "two sets"])
def test_a_system_is_significantly_better_by_the_error_of_the_paired_difference(
    sizes: tuple[int, ...],
) -> None:
    generator = np.random.default_rng(11)
    pairs = sets(*[generator.uniform(0, 5, size) for size in sizes])
    gold = np.array(pairs.scores)
    objective = Objective(pairs)
    common = 2 * generator.normal(size=len(gold))
    own = generator.normal(size=(6, len(gold))) * np.linspace(0.3, 4, 6)[:, None]
    systems = (gold + common + own).astype(np.float32)
    # A quarter of the pairs of each set, so that the sampled share is small.
    rows = np.concatenate(
        [start + np.arange(size // 4) for start, size in zip((0, sizes[0]), sizes, strict=False)]
    )
    scores = objective.rung_score(systems[:, rows], rows)
    samples = [
        objective.rung_score(systems[:, chosen], chosen)
        for chosen in (resample(generator, rows, sizes) for _ in range(1500))
    ]
    differences = scores[:, None] - scores
    errors = np.std(np.array(samples)[:, :, None] - np.array(samples)[:, None], axis=0)
    errors *= np.sqrt(0.75)
    ratios = differences / np.where(errors, errors, np.inf)
    # In the middle of the widest gap, so that the noise of the resampling does not decide.
    ordered = np.sort(ratios[ratios > 0])
    widest = int(np.argmax(np.diff(ordered)))
    assert ordered[widest + 1] - ordered[widest] > 0.2
    threshold = float(ordered[widest : widest + 2].mean())
    expected = (ratios > threshold).sum(axis=0)
    assert 0 < expected.sum() < 15
    found = objective.number_better(systems[:, rows], rows, threshold)
    assert found.tolist() == expected.tolist()
    assert not objective.number_better(np.repeat(systems[:1, rows], 3, axis=0), rows, 0.0).any()


def resample(
    generator: np.random.Generator, rows: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    """Return a resample of the rows of each set."""
    ends = np.cumsum(sizes)
    parts = [
        rows[(rows < end) & (rows >= end - size)] for end, size in zip(ends, sizes, strict=True)
    ]
    return np.concatenate([generator.choice(part, len(part)) for part in parts])
