"""The classifiers against independent ones: SentEval's loop in plain torch, and scikit-learn."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from demosearch.evaluation.probe import (
    SEED,
    STRENGTHS,
    STRENGTHS_BY_FOLDS,
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


def test_arrays_that_nobody_may_write_to_are_taken_without_a_word(
    examples: Labeled, recwarn: pytest.WarningsRecorder
) -> None:
    some = examples.at(np.arange(100))
    for array in arrays(some):
        array.setflags(write=False)
    # torch warns once a process otherwise.
    torch.set_warn_always(True)
    try:
        _fit_senteval(some, some, (1e-3,), CLASSES)
    finally:
        torch.set_warn_always(False)
    assert not recwarn.list


@pytest.mark.parametrize("classifier", list(Classifier))
def test_accuracies_are_those_of_scikit_learn(examples: Labeled, classifier: Classifier) -> None:
    train, test = examples.at(np.arange(1000)), examples.at(np.arange(1000, 1500))
    sklearn = LogisticRegression(max_iter=1000).fit(train.features, train.labels)
    expected = (sklearn.predict(test.features) == test.labels).mean()
    by_folds = probe_by_folds(train, test, CLASSES, classifier)
    by_dev = probe_by_dev(train, train, test, CLASSES, classifier)
    for found in (by_folds, by_dev):
        assert (found.predicted == test.labels).mean() == pytest.approx(expected, abs=0.05)


def chosen_by_folds(train: Labeled, test: Labeled) -> tuple[np.ndarray, float]:
    """Return what the protocol's classifier predicts, and the accuracy that chose its strength."""
    folds = list(StratifiedKFold(10, shuffle=True, random_state=1111).split(*arrays(train)))
    accuracies = []
    for strength in (1e-5, 1e-4, 1e-3, 1e-2):
        right = []
        for inner, held in folds:
            model, _ = one_by_one(train.at(inner), train.at(held), strength)
            right.append(100 * (answers(model, train.at(held)) == train.labels[held]).mean())
        accuracies.append(round(float(np.mean(right)), 2))
    best = int(np.argmax(accuracies))
    model, _ = one_by_one(train, None, (1e-5, 1e-4, 1e-3, 1e-2)[best])
    return answers(model, test), accuracies[best]


def arrays(examples: Labeled) -> tuple[np.ndarray, np.ndarray]:
    return examples.features, examples.labels


def answers(model: torch.nn.Linear, examples: Labeled) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model(torch.from_numpy(examples.features)).argmax(dim=1).numpy()
    return found


def test_a_test_set_is_predicted_as_the_protocol_has_it(examples: Labeled) -> None:
    train, test = examples.at(np.arange(150)), examples.at(np.arange(150, 550))
    expected, accuracy = chosen_by_folds(train, test)
    found = probe_by_folds(train, test, CLASSES, Classifier.SENTEVAL)
    # Half a point is what the tables' accuracies may differ by.
    assert 100 * (found.predicted != expected).mean() <= 0.5
    assert found.dev_accuracy == pytest.approx(accuracy, abs=0.5)


def test_every_tenth_is_predicted_as_the_protocol_has_it(examples: Labeled) -> None:
    some = examples.at(np.arange(100))
    expected, accuracies = np.zeros_like(some.labels), []
    for train, test in StratifiedKFold(10, shuffle=True, random_state=1111).split(*arrays(some)):
        expected[test], accuracy = chosen_by_folds(some.at(train), some.at(test))
        accuracies.append(accuracy)
    found = probe_every_part(some, CLASSES, Classifier.SENTEVAL)
    assert 100 * (found.predicted != expected).mean() <= 0.5
    assert found.dev_accuracy == pytest.approx(np.mean(accuracies), abs=0.5)


def test_the_strengths_are_senteval_s() -> None:
    for table, first, last in ((STRENGTHS, -2, 3), (STRENGTHS_BY_FOLDS, -1, 5)):
        assert table[Classifier.SENTEVAL] == (1e-5, 1e-4, 1e-3, 1e-2)
        powers = tuple(2.0**power for power in range(first, last + 1))
        assert table[Classifier.LOGISTIC] == powers


def test_every_example_is_predicted_by_a_classifier_that_has_not_seen_it() -> None:
    # Labels without rhyme or reason cannot be predicted, unless they were seen.
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 300)).astype(np.float32)
    noise = Labeled(features, generator.integers(0, 2, 200))
    steps: list[int] = []
    found = probe_every_part(noise, 2, Classifier.LOGISTIC, steps.append)
    assert 0.3 < (found.predicted == noise.labels).mean() < 0.7
    assert sum(steps) == 10
