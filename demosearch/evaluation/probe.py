"""The protocol of the transfer tasks: linear classifiers on embeddings that are not trained.

The protocol is SentEval's (arXiv 1803.05449) with the settings of the paper's evaluation: the strength
of the L2 regularization is chosen by cross-validation on the training set, or on a dev set if there is
one, and training stops when the accuracy on held-out examples no longer improves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch._common.extras import missing_extra
from demosearch.evaluation.classifiers import (
    SEED,
    Labeled,
    Predict,
    accuracies,
    fit_logistic,
    fit_senteval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

FOLDS = 10


class Classifier(StrEnum):
    """The classifier that is trained.

    `senteval` is the classifier of the published tables; `logistic` is scikit-learn's logistic
    regression, which is faster and reaches about the same accuracy.
    """

    SENTEVAL = "senteval"
    LOGISTIC = "logistic"


@dataclass(frozen=True, slots=True)
class Probed:
    """The predictions of a classifier for the test examples.

    Attributes:
        predicted: class indices, (examples,).
        dev_accuracy: accuracy of the chosen regularization on the held-out folds or the dev set, x 100.
    """

    predicted: NDArray[np.int64]
    dev_accuracy: float


# Trains one model per strength of the regularization: training examples, examples for early stopping,
# strengths, number of classes.
_Fit = Callable[[Labeled, Labeled | None, Sequence[float], int], list[Predict]]
_FITS: dict[Classifier, _Fit] = {
    Classifier.SENTEVAL: fit_senteval,
    Classifier.LOGISTIC: fit_logistic,
}
# SentEval's grids: the L2 strength of its own classifier, the inverse strength of scikit-learn's. The
# latter grid differs if there is a test set and the strength is chosen by cross-validation.
STRENGTHS: dict[Classifier, tuple[float, ...]] = {
    Classifier.SENTEVAL: (1e-5, 1e-4, 1e-3, 1e-2),
    Classifier.LOGISTIC: (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
}
STRENGTHS_BY_FOLDS: dict[Classifier, tuple[float, ...]] = {
    Classifier.SENTEVAL: STRENGTHS[Classifier.SENTEVAL],
    Classifier.LOGISTIC: (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
}


def probe_every_fold(
    examples: Labeled,
    classes: int,
    classifier: Classifier,
    advance: Callable[[int], None] | None = None,
) -> Probed:
    """Predict each tenth of the examples with a classifier that was trained on the other examples.

    Its regularization is chosen by cross-validation on those other examples.

    Args:
        examples: all examples of the task.
        classes: number of classes.
        classifier: the classifier to train.
        advance: called with 1 after each of the ten folds.
    """
    folds = list(_folds(examples))
    strengths = STRENGTHS[classifier]
    # A generator, because a list would hold ten copies of the features.
    tasks = (
        (examples.at(train), examples.at(test), classes, classifier, strengths, 1)
        for train, test in folds
    )
    predicted = np.zeros_like(examples.labels)
    dev_accuracies = []
    for (_, test), probed in zip(folds, _in_parallel(probe_by_folds, tasks), strict=True):
        predicted[test] = probed.predicted
        dev_accuracies.append(probed.dev_accuracy)
        if advance:
            advance(1)
    return Probed(predicted, float(np.mean(dev_accuracies)))


def probe_by_folds(
    train: Labeled,
    test: Labeled,
    classes: int,
    classifier: Classifier,
    strengths: Sequence[float] | None = None,
    processes: int | None = None,
) -> Probed:
    """Predict the test examples; the regularization is chosen by cross-validation on `train`.

    Args:
        train: training examples.
        test: examples to predict.
        classes: number of classes.
        classifier: the classifier to train.
        strengths: of the regularization; None means SentEval's grid for tasks with a test set.
        processes: number of processes; None means one per core.
    """
    strengths = strengths or STRENGTHS_BY_FOLDS[classifier]
    folds = (
        (train.at(inner), train.at(held_out), classes, classifier, strengths)
        for inner, held_out in _folds(train)
    )
    by_fold = np.stack(list(_in_parallel(_fold_accuracies, folds, processes)))
    best, accuracy = _best(strengths, by_fold.mean(axis=0))
    [predict] = _FITS[classifier](train, None, [best], classes)
    return Probed(predict(test.features), accuracy)


def probe_by_dev(
    train: Labeled, dev: Labeled, test: Labeled, classes: int, classifier: Classifier
) -> Probed:
    """Predict the test examples; the regularization is chosen on the dev examples."""
    strengths = STRENGTHS[classifier]
    best, accuracy = _best(strengths, _fold_accuracies(train, dev, classes, classifier, strengths))
    [predict] = _FITS[classifier](train, dev, [best], classes)
    return Probed(predict(test.features), accuracy)


def _fold_accuracies(
    train: Labeled,
    held_out: Labeled,
    classes: int,
    classifier: Classifier,
    strengths: Sequence[float],
) -> NDArray[np.float64]:
    """Return the accuracy x 100 on the held-out examples by strength, (strengths,)."""
    return accuracies(_FITS[classifier](train, held_out, strengths, classes), held_out)


def _best(strengths: Sequence[float], values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the best strength and its accuracy, rounded to two digits as in SentEval."""
    rounded = np.round(values, 2)
    best = int(np.argmax(rounded))
    return strengths[best], float(rounded[best])


def _folds(examples: Labeled) -> Iterator[tuple[Rows, Rows]]:
    """Yield the training and the held-out rows of each fold, stratified by class."""
    try:
        # Imported here: scikit-learn is installed by the extra `evaluate`.
        from sklearn.model_selection import StratifiedKFold
    except ImportError:
        raise missing_extra("the evaluation on transfer tasks", "evaluate") from None
    folds = StratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=SEED)
    yield from folds.split(examples.features, examples.labels)


def _in_parallel(
    function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], processes: int | None = None
) -> Iterator[Any]:
    """Yield the results in the order of the tasks."""
    # Imported here: joblib is installed with scikit-learn.
    from joblib import Parallel, delayed

    workers = Parallel(n_jobs=processes or os.cpu_count() or 1, return_as="generator")
    yield from workers(delayed(_single_threaded)(function, *task) for task in tasks)


def _single_threaded(function: Callable[..., Any], *arguments: Any) -> Any:
    # Imported here: tasks are found and read before torch is loaded.
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(threads)
