"""Linear classifiers on frozen embeddings: what the transfer tasks measure.

The protocol is SentEval's (arXiv 1803.05449) with the settings of the paper's evaluation: the strength
of the L2 regularisation is chosen by folds of the training set, or by a dev set where there is one, and
the classifier is trained by Adam until its accuracy on held-out examples no longer rises.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]

SEED = 1111
FOLDS = 10


class Classifier(StrEnum):
    """Which classifier is trained.

    `senteval` is the one of the published tables; `logistic` is scikit-learn's logistic regression,
    which is faster and reaches about the same accuracy.
    """

    SENTEVAL = "senteval"
    LOGISTIC = "logistic"


@dataclass(frozen=True, slots=True)
class Labeled:
    """Features with their classes.

    Attributes:
        features: float32 (examples, width).
        labels: class indices, (examples,).
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def at(self, rows: Rows) -> Labeled:
        """Return some of the examples."""
        return Labeled(self.features[rows], self.labels[rows])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a classifier made of the test examples.

    Attributes:
        predicted: a class index each.
        dev_accuracy: of the chosen regularisation on the held-out folds or the dev set, x 100.
    """

    predicted: NDArray[np.int64]
    dev_accuracy: float


# Trains on examples, a model for each strength of regularisation, and returns what each of them
# predicts for some features. The held-out examples, if any, say when to stop.
_Fit = Callable[[Labeled, Labeled | None, Sequence[float], int], "list[_Predict]"]
_Predict = Callable[["NDArray[np.float32]"], "NDArray[np.int64]"]


def probe_every_part(
    examples: Labeled,
    classes: int,
    classifier: Classifier,
    advance: Callable[[int], None] | None = None,
) -> Probed:
    """Predict every tenth of the examples by a classifier trained on the others.

    Its regularisation is chosen by folds of those others.

    Args:
        examples: all there are.
        classes: how many classes.
        classifier: which classifier.
        advance: called with 1 after each of the ten parts.
    """
    parts = list(_folds(examples))
    # One after the other: all at once they would be ten copies of the features.
    strengths = STRENGTHS[classifier]
    tasks = (
        (examples.at(train), examples.at(test), classes, classifier, strengths, 1)
        for train, test in parts
    )
    predicted = np.zeros_like(examples.labels)
    accuracies = []
    for (_, test), found in zip(parts, _in_parallel(probe_by_folds, tasks), strict=True):
        predicted[test] = found.predicted
        accuracies.append(found.dev_accuracy)
        if advance:
            advance(1)
    return Probed(predicted, float(np.mean(accuracies)))


def probe_by_folds(
    train: Labeled,
    test: Labeled,
    classes: int,
    classifier: Classifier,
    strengths: Sequence[float] | None = None,
    processes: int | None = None,
) -> Probed:
    """Predict the test examples; folds of the training examples choose the regularisation.

    Args:
        train: what is trained on.
        test: what is predicted.
        classes: how many classes.
        classifier: which classifier.
        strengths: what is chosen among; None is what SentEval has for tasks with a test set.
        processes: how many work on the folds; None is one a core.
    """
    fit = _FITS[classifier]
    strengths = strengths or STRENGTHS_BY_FOLDS[classifier]
    folds = (
        (train.at(inner), train.at(held), classes, classifier, strengths)
        for inner, held in _folds(train)
    )
    accuracies = np.stack(list(_in_parallel(_fold_accuracies, folds, processes))).mean(axis=0)
    return _chosen(fit, strengths, np.round(accuracies, 2), train, None, test, classes)


def probe_by_dev(
    train: Labeled, dev: Labeled, test: Labeled, classes: int, classifier: Classifier
) -> Probed:
    """Predict the test examples; the dev examples choose the regularisation."""
    fit, strengths = _FITS[classifier], STRENGTHS[classifier]
    accuracies = np.round(_accuracies(fit(train, dev, strengths, classes), dev), 2)
    return _chosen(fit, strengths, accuracies, train, dev, test, classes)


def _fold_accuracies(
    train: Labeled,
    held: Labeled,
    classes: int,
    classifier: Classifier,
    strengths: Sequence[float],
) -> NDArray[np.float64]:
    return _accuracies(_FITS[classifier](train, held, strengths, classes), held)


def _chosen(
    fit: _Fit,
    strengths: Sequence[float],
    accuracies: NDArray[np.float64],
    train: Labeled,
    dev: Labeled | None,
    test: Labeled,
    classes: int,
) -> Probed:
    best = int(np.argmax(accuracies))
    [predict] = fit(train, dev, strengths[best : best + 1], classes)
    return Probed(predict(test.features), float(accuracies[best]))


def _accuracies(models: Sequence[_Predict], held: Labeled) -> NDArray[np.float64]:
    return np.array([100 * np.mean(model(held.features) == held.labels) for model in models])


def _folds(examples: Labeled) -> Iterator[tuple[Rows, Rows]]:
    """Yield the training and the held-out rows of each fold, every class evenly spread."""
    try:
        from sklearn.model_selection import StratifiedKFold
    except ImportError:
        raise UserError(
            "the transfer tasks need scikit-learn; run: pip install 'demosearch[evaluate]'"
        ) from None
    folds = StratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=SEED)
    yield from folds.split(examples.features, examples.labels)


def _in_parallel(
    function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], processes: int | None = None
) -> Iterator[Any]:
    """Yield the results in the order of the tasks."""
    from joblib import Parallel, delayed

    workers = Parallel(n_jobs=processes or os.cpu_count() or 1, return_as="generator")
    yield from workers(delayed(_single_threaded)(function, *task) for task in tasks)


def _single_threaded(function: Callable[..., Any], *arguments: Any) -> Any:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(threads)


BATCH = 64
EPOCHS_A_LOOK = 4
PATIENCE = 5
MOST_EPOCHS = 200
HELD_OUT = 0.05


def _fit_senteval(
    train: Labeled, held: Labeled | None, strengths: Sequence[float], classes: int
) -> list[_Predict]:
    """Train as SentEval does: from the same start, in the same order, to the same end.

    There a classifier is trained by itself for each strength. All start from the same random state,
    so they see the same batches: here they are trained side by side on each batch.

    Args:
        train: what is trained on.
        held: says when to stop; None sets a twentieth of `train` aside.
        strengths: of the L2 regularisation, a classifier each.
        classes: how many classes.
    """
    import torch
    from torch.nn.functional import cross_entropy

    order = np.random.RandomState(SEED)
    if held is None:
        drawn = order.permutation(len(train))
        aside = int(HELD_OUT * len(train))
        held, train = train.at(drawn[:aside]), train.at(drawn[aside:])
    # joblib's processes share large arrays, which nobody may write to, and torch takes no such array.
    features, labels = (
        torch.from_numpy(np.require(each, requirements="W"))
        for each in (train.features, train.labels)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        start = torch.nn.Linear(features.shape[1], classes)
    count = len(strengths)
    weight = start.weight.detach().repeat(count, 1).requires_grad_()
    bias = start.bias.detach().repeat(count).requires_grad_()
    decay = torch.tensor(strengths, dtype=torch.float32).repeat_interleave(classes)
    optimizer = torch.optim.Adam([weight, bias], fused=True)

    best = [_Linear(start.weight.detach().numpy(), start.bias.detach().numpy())] * count
    accuracies = np.full(count, -1.0)
    without_rise = np.zeros(count, dtype=int)
    epochs = 0
    while (without_rise <= PATIENCE).any() and epochs <= MOST_EPOCHS:
        for _ in range(EPOCHS_A_LOOK):
            shuffled = torch.from_numpy(order.permutation(len(labels)))
            for rows in torch.split(shuffled, BATCH):
                outputs = torch.addmm(bias, features[rows], weight.T).view(
                    len(rows), count, classes
                )
                wanted = labels[rows, None].expand(-1, count)
                # The mean over the batch, the sum over the classifiers: none sees the others.
                loss = cross_entropy(outputs.flatten(0, 1), wanted.flatten(), reduction="sum")
                optimizer.zero_grad()
                torch.autograd.backward(loss / len(rows))
                if weight.grad is not None and bias.grad is not None:
                    weight.grad.addcmul_(weight.detach(), decay[:, None])
                    bias.grad.addcmul_(bias.detach(), decay)
                optimizer.step()
        epochs += EPOCHS_A_LOOK
        now = [
            _Linear(*each)
            for each in zip(
                weight.detach().numpy().reshape(count, classes, -1).copy(),
                bias.detach().numpy().reshape(count, classes).copy(),
                strict=True,
            )
        ]
        for place, accuracy in enumerate(_accuracies(now, held)):
            if without_rise[place] > PATIENCE:
                continue
            if accuracy > accuracies[place]:
                accuracies[place], best[place] = accuracy, now[place]
            else:
                without_rise[place] += 1
    return list(best)


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.asarray((features @ self.weight.T + self.bias).argmax(axis=1), dtype=np.int64)


def _fit_logistic(
    train: Labeled, held: Labeled | None, strengths: Sequence[float], classes: int
) -> list[_Predict]:
    from sklearn.linear_model import LogisticRegression

    del held, classes
    return [
        LogisticRegression(C=strength, max_iter=LOGISTIC_ITERATIONS)
        .fit(train.features, train.labels)
        .predict
        for strength in strengths
    ]


LOGISTIC_ITERATIONS = 1000
_FITS: dict[Classifier, _Fit] = {
    Classifier.SENTEVAL: _fit_senteval,
    Classifier.LOGISTIC: _fit_logistic,
}
# SentEval's grids: the L2 strength of its own classifier, the inverse strength of scikit-learn's. That
# one is another where folds of the training set choose for a test set.
STRENGTHS: dict[Classifier, tuple[float, ...]] = {
    Classifier.SENTEVAL: (1e-5, 1e-4, 1e-3, 1e-2),
    Classifier.LOGISTIC: (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
}
STRENGTHS_BY_FOLDS: dict[Classifier, tuple[float, ...]] = {
    Classifier.SENTEVAL: STRENGTHS[Classifier.SENTEVAL],
    Classifier.LOGISTIC: (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
}
