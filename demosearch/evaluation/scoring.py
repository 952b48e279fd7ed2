"""Evaluation of a system on tasks."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from demosearch._common.files import sha256
from demosearch._common.progress import Bar, bar
from demosearch._common.versions import versions
from demosearch.datasets.classification import Classification, Examples
from demosearch.datasets.pairs import Pairs, require_pairs
from demosearch.errors import NotFiniteError, UserError
from demosearch.evaluation.cache import EvaluationCache
from demosearch.evaluation.classifiers import Labeled
from demosearch.evaluation.probe import (
    FOLDS,
    Classifier,
    Probed,
    probe_by_dev,
    probe_by_folds,
    probe_every_fold,
)
from demosearch.evaluation.result import Details, Evaluation, Result, SystemRecord, TaskResult
from demosearch.evaluation.tasks import GROUPS, Task, TaskData
from demosearch.metrics.correlation import pearson, spearman
from demosearch.metrics.similarity import cosine, zero_pairs
from demosearch.models.finite import checked
from demosearch.postprocess import Postprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Sentences per write to the cache: the maximum number of embeddings lost if the process is killed.
CHUNK = 2048


class System(Protocol):
    """What can be evaluated: an `Embedder` or a `Baseline`."""

    @property
    def arithmetic(self) -> str:
        """The kind of device and the number format, which also determine an embedding's last digits."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return everything else that determines an embedding, as a JSON object."""
        ...

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts, float32 (len(sentences), width)."""
        ...


def evaluate(
    system: System,
    data: dict[str, TaskData],
    *,
    tasks: Sequence[Task],
    classifier: Classifier | str = Classifier.SENTEVAL,
    overlaps: Sequence[str] = (),
    cache: str | Path | None = None,
    show_progress: bool = False,
) -> Evaluation:
    """Score a system on tasks; each distinct sentence is encoded once for all tasks.

    Args:
        system: the system to evaluate.
        data: what `read_tasks` returned.
        tasks: the requested tasks; those without data are listed as missing.
        classifier: of the transfer tasks.
        overlaps: what `find_overlaps` returned.
        cache: folder of the cache of embeddings and predictions. A repeated evaluation of the same
            system reuses them, also after the process was killed. None means no cache.
        show_progress: show progress bars on standard error.

    Raises:
        UserError: the data of a task are neither a list of pairs nor a classification task, or an
            embedding is not finite; the message names the pair or example.
    """
    _check(data)
    started = time.monotonic()
    classifier = Classifier(classifier)
    described = system.describe()
    record = SystemRecord.model_validate(described)
    postprocess = _postprocess_of(system)
    # The cache holds embeddings without post-processing, which classifiers use.
    described = {key: value for key, value in described.items() if key != "postprocess"}
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(
            EvaluationCache(cache or folder, {**described, "arithmetic": system.arithmetic})
        ) as states,
    ):
        encoded = _encode(system, data, states, show_progress=show_progress)
        scored = _score(data, states, classifier, postprocess, show_progress=show_progress)
    results = {name: result for name, (result, _) in scored.items()}
    result = Result(
        system=record,
        tasks=results,
        average=_averages(results),
        missing=[task.name for task in tasks if task.name not in data],
        overlaps=list(overlaps),
        sentences_encoded=encoded,
        seconds=round(time.monotonic() - started, 1),
        versions=versions(),
    )
    return Evaluation(result, {name: details for name, (_, details) in scored.items()})


def _encode_plain(system: System, texts: list[str]) -> NDArray[np.float32]:
    """Return embeddings without post-processing, checked."""
    encode: Callable[..., NDArray[np.float32]] = system.encode
    plain = {} if _postprocess_of(system) is None else {"postprocess": False}
    return checked(encode(texts, **plain), texts, system.describe()["model"]["precision"])


def _postprocess_of(system: System) -> Postprocess | None:
    """Return the post-processing of an `Embedder`; other systems have none."""
    postprocess: Postprocess | None = getattr(system, "postprocess", None)
    return postprocess


def _averages(results: dict[str, TaskResult]) -> dict[str, float]:
    """Return the mean score of each group whose tasks all have a score."""
    scores = {name: result.score for name, result in results.items() if result.score is not None}
    return {
        group: round(float(np.mean([scores[name] for name in members])), 6)
        for group, members in GROUPS.items()
        if scores.keys() >= set(members)
    }


def _check(data: dict[str, TaskData]) -> None:
    if not isinstance(data, dict):
        raise UserError(
            "data must be a dict of the names of tasks and their data but got a value of type"
            f" {type(data).__name__}; use read_tasks"
        )
    for name, task in data.items():
        if isinstance(task, Classification):
            continue
        if not isinstance(task, (list, tuple)):
            raise UserError(
                f"the data of task '{name}' must be a list of Pairs, or a Classification, but got a value of"
                f" type {type(task).__name__}; use read_tasks, or a list"
            )
        for pairs in task:
            require_pairs(pairs, f"the data of task '{name}'")


def _encode(
    system: System, data: Mapping[str, TaskData], cache: EvaluationCache, *, show_progress: bool
) -> int:
    """Encode the sentences that are not cached, and return their number."""
    sentences = dict.fromkeys(text for task in data.values() for text in _sentences(task))
    # Long ones first: a batch contains texts of similar length, and a lack of memory shows at once.
    missing = sorted(cache.missing(list(sentences)), key=len, reverse=True)
    with bar("encoding", len(missing), show=show_progress and bool(missing)) as progress:
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            try:
                states = _encode_plain(system, chunk)
            except NotFiniteError as error:
                # The sentences of all tasks are in an order of their own.
                raise error.at(_location(error.text, data.values())) from None
            cache.put_states(chunk, states)
            progress.advance(len(chunk))
    return len(missing)


def _location(text: str, data: Iterable[TaskData]) -> str:
    """Return the first pair or example with a text as messages name it."""
    parts = [
        part for task in data for part in ([task] if isinstance(task, Classification) else task)
    ]
    return next(part.location(text) for part in parts if text in part.sentences())


def _score(
    data: dict[str, TaskData],
    cache: EvaluationCache,
    classifier: Classifier,
    postprocess: Postprocess | None,
    *,
    show_progress: bool,
) -> dict[str, tuple[TaskResult, Details]]:
    """Return the score of each task, from cached embeddings."""
    transfer = [task for task in data.values() if isinstance(task, Classification)]
    # A task without a test set trains one classifier per fold.
    steps = sum(FOLDS if task.test is None else 1 for task in transfer)
    with bar("classifying", steps, show=show_progress and bool(steps)) as progress:
        return {
            name: _classify(task, cache, classifier, progress)
            if isinstance(task, Classification)
            else _correlate(task, cache, postprocess)
            for name, task in data.items()
        }


def _sentences(data: TaskData) -> list[str]:
    if isinstance(data, Classification):
        return data.sentences()
    return list(dict.fromkeys(text for pairs in data for text in pairs.sentences()))


def _correlate(
    subsets: list[Pairs], cache: EvaluationCache, postprocess: Postprocess | None
) -> tuple[TaskResult, Details]:
    def embeddings(texts: Sequence[str]) -> NDArray[np.float32]:
        states = cache.states(texts)
        return postprocess.apply(states) if postprocess else states

    similarities = []
    zeros = 0
    for pairs in subsets:
        both = embeddings(pairs.sentences1), embeddings(pairs.sentences2)
        similarities.append(cosine(*both))
        zeros += zero_pairs(*both)
    if zeros:
        logger.warning(
            "%s: %d of %d pairs have an embedding of zeros; their similarity is 0",
            " and ".join(dict.fromkeys(pairs.name for pairs in subsets)),
            zeros,
            sum(map(len, subsets)),
        )
    all_similarities = np.concatenate(similarities)
    gold = [score for pairs in subsets for score in pairs.scores]
    details = Details(all_similarities, np.asarray(gold, dtype=np.float32))
    by_subset = {
        pairs.name: spearman(values, pairs.scores)
        for pairs, values in zip(subsets, similarities, strict=True)
    }
    other: dict[str, Any] = {"pearson": pearson(all_similarities, details.gold.tolist())}
    if len(subsets) > 1:
        # SentEval's two other aggregations over subsets.
        sizes = [len(pairs) for pairs in subsets]
        ranked = list(by_subset.values())
        linear = [
            pearson(values, pairs.scores)
            for pairs, values in zip(subsets, similarities, strict=True)
        ]
        other |= {
            "spearman_mean": np.mean(ranked),
            "spearman_weighted_mean": np.average(ranked, weights=sizes),
            "pearson_mean": np.mean(linear),
            "pearson_weighted_mean": np.average(linear, weights=sizes),
        }
    result = TaskResult(
        metric="spearman",
        score=_defined(spearman(all_similarities, gold)),
        pairs=len(all_similarities),
        sha256=sha256(pairs.sha256 for pairs in subsets),
        subsets={name: _defined(score) for name, score in by_subset.items()},
        other={name: _defined(value) for name, value in other.items()},
    )
    if result.score is None:
        logger.warning(
            "%s has no correlation, because all similarities or all gold scores are equal",
            " and ".join(dict.fromkeys(pairs.name for pairs in subsets)),
        )
    return result, details


def _defined(score: float) -> float | None:
    """Return a score, None if it is nan: a correlation with a constant."""
    return round(float(score), 6) if np.isfinite(score) else None


def _classify(
    task: Classification, cache: EvaluationCache, classifier: Classifier, progress: Bar
) -> tuple[TaskResult, Details]:
    tested = task.test or task.train
    key = sha256([task.sha256, classifier])
    if (predictions := cache.value(key)) is None:
        probed = _probe(task, cache, classifier, progress)
        predictions = {"predicted": probed.predicted.tolist(), "dev_accuracy": probed.dev_accuracy}
        cache.put_value(key, predictions)
    else:
        progress.advance(FOLDS if task.test is None else 1)
    labels = np.asarray(tested.labels)
    predicted = np.asarray(predictions["predicted"])
    correct = predicted == labels
    other = {"dev_accuracy": predictions["dev_accuracy"]}
    if tested.others is not None:
        # Imported here: scikit-learn is installed by the extra `evaluate`.
        from sklearn.metrics import f1_score

        other["f1"] = 100 * float(f1_score(labels, predicted))
    result = TaskResult(
        metric="accuracy",
        score=round(100 * float(correct.mean()), 6),
        examples=len(correct),
        classifier=classifier.value,
        sha256=task.sha256,
        subsets={},
        other={name: round(value, 6) for name, value in other.items()},
    )
    return result, Details(correct.astype(np.float32), np.zeros(0, dtype=np.float32))


def _probe(
    task: Classification, cache: EvaluationCache, classifier: Classifier, progress: Bar
) -> Probed:
    train = _labeled(task.train, cache)
    if task.test is None:
        return probe_every_fold(train, task.classes, classifier, progress.advance)
    test = _labeled(task.test, cache)
    if task.dev is None:
        probed = probe_by_folds(train, test, task.classes, classifier)
    else:
        dev = _labeled(task.dev, cache)
        probed = probe_by_dev(train, dev, test, task.classes, classifier)
    progress.advance(1)
    return probed


def _labeled(examples: Examples, cache: EvaluationCache) -> Labeled:
    features = cache.states(examples.texts)
    if examples.others is not None:
        # The features of a pair are the absolute difference and the product of its embeddings (SentEval).
        others = cache.states(examples.others)
        features = np.hstack([np.abs(features - others), features * others])
    return Labeled(features, np.asarray(examples.labels, dtype=np.int64))
