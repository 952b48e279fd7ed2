"""Scoring a system on tasks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from demosearch._common.files import sha256
from demosearch._common.progress import Bar, bar
from demosearch._common.versions import versions
from demosearch.datasets.classification import Classification, Examples
from demosearch.datasets.pairs import Pairs
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
from demosearch.metrics.similarity import cosine
from demosearch.metrics.statistics import pearson, spearman

if TYPE_CHECKING:
    from numpy.typing import NDArray

# So many sentences are lost to a kill at most.
CHUNK = 2048


class System(Protocol):
    """What can be evaluated: an `Embedder`, or a `Baseline`."""

    @property
    def arithmetic(self) -> str:
        """What else decides an embedding's last digits: the kind of device, the number format."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return all that decides an embedding, as JSON takes it."""
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
    """Score a system; every distinct sentence is encoded once over all tasks.

    Args:
        system: what is evaluated.
        data: what `read_tasks` returned.
        tasks: what was asked for; tasks without data are listed as missing.
        classifier: of the transfer tasks.
        overlaps: what `find_overlaps` returned.
        cache: folder in which embeddings and scores are kept, so that an evaluation that was killed
            goes on where it was, and another one of the same system shares them; None keeps none.
        show_progress: draw bars on standard error.
    """
    started = time.monotonic()
    classifier = Classifier(classifier)
    described = system.describe()
    record = SystemRecord.model_validate(described)
    details: dict[str, Details] = {}
    results: dict[str, TaskResult] = {}
    with tempfile.TemporaryDirectory() as folder:
        kept = EvaluationCache(cache or folder, {**described, "arithmetic": system.arithmetic})
        encoded = _encode(system, data.values(), kept, show_progress=show_progress)
        probed = [one for one in data.values() if isinstance(one, Classification)]
        # A task whose every tenth is tested on takes ten times as long as one with a test set.
        steps = sum(FOLDS if one.test is None else 1 for one in probed)
        with bar("classifying", steps, show=show_progress and bool(steps)) as progress:
            for name, one in data.items():
                if isinstance(one, Classification):
                    results[name], details[name] = _classify(one, kept, classifier, progress)
                else:
                    results[name], details[name] = _correlate(one, kept)
        kept.close()
    result = Result(
        system=record,
        tasks=results,
        average={
            group: round(float(np.mean([results[name].score for name in members])), 6)
            for group, members in GROUPS.items()
            if all(name in results for name in members)
        },
        missing=[task.name for task in tasks if task.name not in data],
        overlaps=list(overlaps),
        sentences_encoded=encoded,
        seconds=round(time.monotonic() - started, 1),
        versions=versions(),
    )
    return Evaluation(result, details)


def _encode(
    system: System, data: Iterable[TaskData], kept: EvaluationCache, *, show_progress: bool
) -> int:
    """Encode what is not kept yet, and return how many sentences that were."""
    every = dict.fromkeys(text for one in data for text in _sentences(one))
    # Long ones first: neighbours in length share a batch, and memory runs out at once if it does.
    missing = sorted(kept.missing(list(every)), key=len, reverse=True)
    with bar("encoding", len(missing), show=show_progress and bool(missing)) as progress:
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            kept.keep(chunk, system.encode(chunk))
            progress.advance(len(chunk))
    return len(missing)


def _sentences(data: TaskData) -> list[str]:
    if isinstance(data, Classification):
        return data.sentences()
    return list(dict.fromkeys(text for pairs in data for text in pairs.sentences()))


def _correlate(subsets: list[Pairs], kept: EvaluationCache) -> tuple[TaskResult, Details]:
    similarities = [
        cosine(kept.states(pairs.sentences1), kept.states(pairs.sentences2)) for pairs in subsets
    ]
    together = np.concatenate(similarities)
    gold = np.concatenate([np.asarray(pairs.scores, dtype=np.float32) for pairs in subsets])
    by_subset = {
        pairs.name: spearman(each, pairs.scores)
        for pairs, each in zip(subsets, similarities, strict=True)
    }
    linear = [
        pearson(each, pairs.scores) for pairs, each in zip(subsets, similarities, strict=True)
    ]
    ranked = list(by_subset.values())
    sizes = [len(pairs) for pairs in subsets]
    other: dict[str, Any] = {"pearson": pearson(together, gold.tolist())}
    if len(subsets) > 1:
        # SentEval's two other ways of putting subsets together.
        other |= {
            "spearman_mean": np.mean(ranked),
            "spearman_weighted_mean": np.average(ranked, weights=sizes),
            "pearson_mean": np.mean(linear),
            "pearson_weighted_mean": np.average(linear, weights=sizes),
        }
    result = TaskResult(
        metric="spearman",
        score=spearman(together, [score for pairs in subsets for score in pairs.scores]),
        pairs=len(together),
        sha256=sha256(pairs.sha256 for pairs in subsets),
        subsets=by_subset,
        other={name: round(float(value), 6) for name, value in other.items()},
    )
    return result, Details(together, gold)


def _classify(
    task: Classification, kept: EvaluationCache, classifier: Classifier, progress: Bar
) -> tuple[TaskResult, Details]:
    tested = task.test or task.train
    key = sha256([task.sha256, classifier])
    if (known := kept.score(key)) is None:
        probed = _probe(task, kept, classifier, progress)
        known = {"predicted": probed.predicted.tolist(), "dev_accuracy": probed.dev_accuracy}
        kept.keep_score(key, known)
    else:
        progress.advance(FOLDS if task.test is None else 1)
    labels = np.asarray(tested.labels)
    predicted = np.asarray(known["predicted"])
    right = predicted == labels
    other = {"dev_accuracy": known["dev_accuracy"]}
    if tested.others is not None:
        from sklearn.metrics import f1_score

        other["f1"] = 100 * float(f1_score(labels, predicted))
    result = TaskResult(
        metric="accuracy",
        score=round(100 * float(right.mean()), 6),
        examples=len(right),
        classifier=classifier.value,
        sha256=task.sha256,
        subsets={},
        other={name: round(value, 6) for name, value in other.items()},
    )
    return result, Details(right.astype(np.float32), np.zeros(0, dtype=np.float32))


def _probe(
    task: Classification, kept: EvaluationCache, classifier: Classifier, progress: Bar
) -> Probed:
    def labeled(part: Examples) -> Labeled:
        features = kept.states(part.texts)
        if part.others is not None:
            # Pairs are classified by how their embeddings differ and agree (SentEval).
            others = kept.states(part.others)
            features = np.hstack([np.abs(features - others), features * others])
        return Labeled(features, np.asarray(part.labels, dtype=np.int64))

    train = labeled(task.train)
    if task.test is None:
        return probe_every_fold(train, task.classes, classifier, progress.advance)
    test = labeled(task.test)
    if task.dev is None:
        probed = probe_by_folds(train, test, task.classes, classifier)
    else:
        probed = probe_by_dev(train, labeled(task.dev), test, task.classes, classifier)
    progress.advance(1)
    return probed
