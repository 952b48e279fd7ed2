"""The classifiers against independent ones: SentEval's loop in plain torch, and scikit-learn."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from demosearch.evaluation.probe import (
    SEED,
    Classifier,
    Labeled,
    _fit_senteval,
    probe_by_dev,
    probe_by_folds,
    probe_every_part,
)

CLASSES = 3


@pytest.fixture(scope="module")
def examples() -> Labeled:
    generator = np.random.default_rng(3)
    directions = generator.normal(size=(24, CLASSES))
    features = generator.normal(size=(1500, 24)).astype(np.float32)
    noise = 2 * generator.normal(size=(1500, CLASSES))
    return Labeled(features, (features @ directions + noise).argmax(axis=1))


def one_by_one(
    train: Labeled, held: Labeled | None, decay: float
) -> tuple[torch.nn.Linear, np.random.RandomState]:
    """Train one classifier as the published protocol has it: Adam, batches of 64, looks of 4 epochs."""
    order = np.random.RandomState(SEED)
    torch.manual_seed(SEED)
    model = torch.nn.Linear(train.features.shape[1], CLASSES)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=decay)
    if held is None:
        drawn = order.permutation(len(train))
        held, train = train.at(drawn[: len(drawn) // 20]), train.at(drawn[len(drawn) // 20 :])
    features, labels = torch.from_numpy(train.features), torch.from_numpy(train.labels)
    best, accuracy, waited = copy.deepcopy(model), -1.0, 0
    for _ in range(51):
        for _ in range(4):
            shuffled = torch.from_numpy(order.permutation(len(labels)))
            for rows in shuffled.split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(features[rows]), labels[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            right = model(torch.from_numpy(held.features)).argmax(dim=1).numpy() == held.labels
        if right.mean() > accuracy:
            best, accuracy = copy.deepcopy(model), right.mean()
        elif waited == 5:
            break
        else:
            waited += 1
    return best, order


@pytest.mark.parametrize("held_out", [True, False])
def test_side_by_side_is_one_by_one(examples: Labeled, held_out: bool) -> None:
    train = examples.at(np.arange(300))
    held = examples.at(np.arange(300, 400)) if held_out else None
    strengths = (1e-5, 1e-3, 1e-2)
    found = _fit_senteval(train, held, strengths, CLASSES)
    for strength, predict in zip(strengths, found, strict=True):
        model, _ = one_by_one(train, held, strength)
        with torch.no_grad():
            expected = model(torch.from_numpy(examples.features)).argmax(dim=1).numpy()
        assert np.array_equal(predict(examples.features), expected)


@pytest.mark.parametrize("classifier", list(Classifier))
def test_accuracies_are_those_of_scikit_learn(examples: Labeled, classifier: Classifier) -> None:
    train, test = examples.at(np.arange(1000)), examples.at(np.arange(1000, 1500))
    sklearn = LogisticRegression(max_iter=1000).fit(train.features, train.labels)
    expected = (sklearn.predict(test.features) == test.labels).mean()
    by_folds = probe_by_folds(train, test, CLASSES, classifier)
    by_dev = probe_by_dev(train, train, test, CLASSES, classifier)
    for found in (by_folds, by_dev):
        assert (found.predicted == test.labels).mean() == pytest.approx(expected, abs=0.05)


def test_every_example_is_predicted_by_a_classifier_that_has_not_seen_it() -> None:
    # Labels without rhyme or reason cannot be predicted, unless they were seen.
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 300)).astype(np.float32)
    noise = Labeled(features, generator.integers(0, 2, 200))
    steps: list[int] = []
    found = probe_every_part(noise, 2, Classifier.LOGISTIC, steps.append)
    assert 0.3 < (found.predicted == noise.labels).mean() < 0.7
    assert sum(steps) == 10
