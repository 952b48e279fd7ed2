"""Linear classifiers: SentEval's own, and scikit-learn's logistic regression.

Each trains one model per strength of the regularization.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

SEED = 1111
# SentEval's settings of its own classifier.
BATCH_SIZE = 64
EPOCHS_PER_CHECK = 4
PATIENCE = 5
MAX_EPOCHS = 200
HELD_OUT = 0.05
LOGISTIC_ITERATIONS = 1000

# From features (examples, width) to class indices (examples,).
Predict = Callable[["NDArray[np.float32]"], "NDArray[np.int64]"]


@dataclass(frozen=True, slots=True)
class Labeled:
    """Features with their classes.

    Attributes:
        features: float32 (examples, width).
        labels: class indices, (examples,).
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def at(self, rows: NDArray[np.intp]) -> Labeled:
        """Return the examples with these indices."""
        return Labeled(self.features[rows], self.labels[rows])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.asarray((features @ self.weight.T + self.bias).argmax(axis=1), dtype=np.int64)


def accuracies(models: Sequence[Predict], examples: Labeled) -> NDArray[np.float64]:
    """Return the accuracy x 100 of each model, (models,)."""
    return np.array(
        [100 * np.mean(model(examples.features) == examples.labels) for model in models]
    )


def fit_senteval(
    train: Labeled, held_out: Labeled | None, strengths: Sequence[float], classes: int
) -> list[Predict]:
    """Train SentEval's classifier: softmax regression by Adam with early stopping.

    SentEval trains one classifier after the other. All of them start from the same random state and
    see the same batches, so training them side by side gives the same classifiers.

    Args:
        train: training examples.
        held_out: examples for early stopping; None holds out a twentieth of `train`.
        strengths: of the L2 regularization, one per classifier.
        classes: number of classes.
    """
    generator = np.random.RandomState(SEED)
    if held_out is None:
        order = generator.permutation(len(train))
        count = int(HELD_OUT * len(train))
        held_out, train = train.at(order[:count]), train.at(order[count:])
    training = _SideBySide(train, strengths, classes, generator)
    best = training.classifiers()
    best_accuracies = np.full(len(strengths), -1.0)
    without_improvement = np.zeros(len(strengths), dtype=int)
    epochs = 0
    while (without_improvement <= PATIENCE).any() and epochs <= MAX_EPOCHS:
        for _ in range(EPOCHS_PER_CHECK):
            training.epoch()
        epochs += EPOCHS_PER_CHECK
        current = training.classifiers()
        for index, accuracy in enumerate(accuracies(current, held_out)):
            if without_improvement[index] > PATIENCE:
                continue
            if accuracy > best_accuracies[index]:
                best_accuracies[index], best[index] = accuracy, current[index]
            else:
                without_improvement[index] += 1
    return list(best)


class _SideBySide:
    """Linear classifiers with different regularization, trained on the same batches.

    Args:
        train: training examples.
        strengths: of the L2 regularization, one per classifier.
        classes: number of classes.
        generator: shuffles the examples of each epoch.
    """

    def __init__(
        self,
        train: Labeled,
        strengths: Sequence[float],
        classes: int,
        generator: np.random.RandomState,
    ) -> None:
        # Imported here: tasks are found and read before torch is loaded.
        import torch

        # joblib's processes share large arrays, which are read-only, and torch warns about those.
        self._features, self._labels = (
            torch.from_numpy(np.require(array, requirements="W"))
            for array in (train.features, train.labels)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            start = torch.nn.Linear(self._features.shape[1], classes)
        self._count, self._classes = len(strengths), classes
        self._weight = start.weight.detach().repeat(self._count, 1).requires_grad_()
        self._bias = start.bias.detach().repeat(self._count).requires_grad_()
        self._decay = torch.tensor(strengths, dtype=torch.float32).repeat_interleave(classes)
        self._optimizer = torch.optim.Adam([self._weight, self._bias], fused=True)
        self._generator = generator

    def epoch(self) -> None:
        """Train on all examples once, in a new order."""
        import torch

        order = torch.from_numpy(self._generator.permutation(len(self._labels)))
        for rows in torch.split(order, BATCH_SIZE):
            self._step(rows)

    def _step(self, rows: torch.Tensor) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        outputs = torch.addmm(self._bias, self._features[rows], self._weight.T)
        outputs = outputs.view(len(rows), self._count, self._classes)
        wanted = self._labels[rows, None].expand(-1, self._count)
        # The mean over the batch and the sum over the classifiers, which do not influence each other.
        loss = cross_entropy(outputs.flatten(0, 1), wanted.flatten(), reduction="sum")
        self._optimizer.zero_grad()
        torch.autograd.backward(loss / len(rows))
        for parameter, decay in ((self._weight, self._decay[:, None]), (self._bias, self._decay)):
            if parameter.grad is not None:
                parameter.grad.addcmul_(parameter.detach(), decay)
        self._optimizer.step()

    def classifiers(self) -> list[Predict]:
        """Return the classifiers as they are now."""
        weights = self._weight.detach().numpy().reshape(self._count, self._classes, -1).copy()
        biases = self._bias.detach().numpy().reshape(self._count, self._classes).copy()
        return [_Linear(*parameters) for parameters in zip(weights, biases, strict=True)]


def fit_logistic(
    train: Labeled, held_out: Labeled | None, strengths: Sequence[float], classes: int
) -> list[Predict]:
    """Train scikit-learn's logistic regression.

    Args:
        train: training examples.
        held_out: not used; there is no early stopping.
        strengths: inverse strengths of the L2 regularization, one per classifier.
        classes: not used; scikit-learn counts them.
    """
    # Imported here: scikit-learn is installed by the extra `evaluate`.
    from sklearn.linear_model import LogisticRegression

    del held_out, classes
    return [
        LogisticRegression(C=strength, max_iter=LOGISTIC_ITERATIONS)
        .fit(train.features, train.labels)
        .predict
        for strength in strengths
    ]
