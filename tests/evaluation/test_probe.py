"""The classifiers are compared with SentEval's loop in plain torch, and with scikit-learn."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from demosearch.evaluation.classifiers import SEED, Labeled, fit_senteval
from demosearch.evaluation.probe import (
    STRENGTHS,
    STRENGTHS_BY_FOLDS,
    Classifier,
    probe_by_dev,
    probe_by_folds,
    probe_every_fold,
)

CLASSES = 3


@pytest.fixture(scope="module")
def examples() -> Labeled:
    generator = np.random.default_rng(3)
    directions = generator.normal(size=(24, CLASSES))
    features = generator.normal(size=(1500, 24)).astype(np.float32)
    noise = 2 * generator.normal(size=(1500, CLASSES))
    return Labeled(features, (features @ directions + noise).argmax(axis=1))


def train_separately(
    train: Labeled, held: Labeled | None, decay: float
) -> tuple[torch.nn.Linear, np.random.RandomState]:
    """Train one classifier by the published protocol: Adam, batches of 64, a check every 4 epochs."""
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
def test_side_by_side_is_train_separately(examples: Labeled, held_out: bool) -> None:
    train = examples.at(np.arange(300))
    held = examples.at(np.arange(300, 400)) if held_out else None
    strengths = (1e-5, 1e-3, 1e-2)
    classifiers = fit_senteval(train, held, strengths, CLASSES)
    for strength, predict in zip(strengths, classifiers, strict=True):
        model, _ = train_separately(train, held, strength)
        with torch.no_grad():
            expected = model(torch.from_numpy(examples.features)).argmax(dim=1).numpy()
        assert np.array_equal(predict(examples.features), expected)


def test_read_only_arrays_raise_no_warning(
    examples: Labeled, recwarn: pytest.WarningsRecorder
) -> None:
    some = examples.at(np.arange(100))
    for array in arrays(some):
        array.setflags(write=False)
    # Otherwise torch warns once per process.
    torch.set_warn_always(True)
    try:
        fit_senteval(some, some, (1e-3,), CLASSES)
    finally:
        torch.set_warn_always(False)
    assert not recwarn.list


@pytest.mark.parametrize("classifier", list(Classifier))
def test_accuracies_equal_those_of_scikit_learn(examples: Labeled, classifier: Classifier) -> None:
    train, test = examples.at(np.arange(1000)), examples.at(np.arange(1000, 1500))
    sklearn = LogisticRegression(max_iter=1000).fit(train.features, train.labels)
    expected = (sklearn.predict(test.features) == test.labels).mean()
    by_folds = probe_by_folds(train, test, CLASSES, classifier)
    by_dev = probe_by_dev(train, train, test, CLASSES, classifier)
    for probed in (by_folds, by_dev):
        assert (probed.predicted == test.labels).mean() == pytest.approx(expected, abs=0.05)


def chosen_by_folds(train: Labeled, test: Labeled) -> tuple[np.ndarray, float]:
    """Return the predictions of the protocol's classifier, and the accuracy of its strength."""
    folds = list(StratifiedKFold(10, shuffle=True, random_state=1111).split(*arrays(train)))
    accuracies = []
    for strength in (1e-5, 1e-4, 1e-3, 1e-2):
        right = []
        for inner, held in folds:
            model, _ = train_separately(train.at(inner), train.at(held), strength)
            right.append(100 * (predictions(model, train.at(held)) == train.labels[held]).mean())
        accuracies.append(round(float(np.mean(right)), 2))
    best = int(np.argmax(accuracies))
    model, _ = train_separately(train, None, (1e-5, 1e-4, 1e-3, 1e-2)[best])
    return predictions(model, test), accuracies[best]


def arrays(examples: Labeled) -> tuple[np.ndarray, np.ndarray]:
    return examples.features, examples.labels


def predictions(model: torch.nn.Linear, examples: Labeled) -> np.ndarray:
    with torch.no_grad():
        classes: np.ndarray = model(torch.from_numpy(examples.features)).argmax(dim=1).numpy()
    return classes


def test_a_test_set_is_predicted_by_the_protocol(examples: Labeled) -> None:
    train, test = examples.at(np.arange(150)), examples.at(np.arange(150, 550))
    expected, accuracy = chosen_by_folds(train, test)
    probed = probe_by_folds(train, test, CLASSES, Classifier.SENTEVAL)
    # The tolerance of the accuracies is half a point.
    assert 100 * (probed.predicted != expected).mean() <= 0.5
    assert probed.dev_accuracy == pytest.approx(accuracy, abs=0.5)


def test_every_fold_is_predicted_by_the_protocol(examples: Labeled) -> None:
    some = examples.at(np.arange(100))
    expected, accuracies = np.zeros_like(some.labels), []
    for train, test in StratifiedKFold(10, shuffle=True, random_state=1111).split(*arrays(some)):
        expected[test], accuracy = chosen_by_folds(some.at(train), some.at(test))
        accuracies.append(accuracy)
    probed = probe_every_fold(some, CLASSES, Classifier.SENTEVAL)
    assert 100 * (probed.predicted != expected).mean() <= 0.5
    assert probed.dev_accuracy == pytest.approx(np.mean(accuracies), abs=0.5)


def test_the_strengths_are_those_of_senteval() -> None:
    for table, first, last in ((STRENGTHS, -2, 3), (STRENGTHS_BY_FOLDS, -1, 5)):
        assert table[Classifier.SENTEVAL] == (1e-5, 1e-4, 1e-3, 1e-2)
        powers = tuple(2.0**power for power in range(first, last + 1))
        assert table[Classifier.LOGISTIC] == powers


def test_examples_are_predicted_by_classifiers_that_were_not_trained_on_them() -> None:
    # Random labels cannot be predicted, except by a classifier that was trained on them.
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 300)).astype(np.float32)
    noise = Labeled(features, generator.integers(0, 2, 200))
    steps: list[int] = []
    probed = probe_every_fold(noise, 2, Classifier.LOGISTIC, steps.append)
    assert 0.3 < (probed.predicted == noise.labels).mean() < 0.7
    assert sum(steps) == 10
