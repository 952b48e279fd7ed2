"""The paper's evaluations of an embedder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch.lazy import lazily

if TYPE_CHECKING:
    from demosearch.evaluation.comparison import Comparison, compare
    from demosearch.evaluation.gain import Gain, gain_on
    from demosearch.evaluation.overlap import find_overlaps
    from demosearch.evaluation.probe import Classifier
    from demosearch.evaluation.result import Evaluation, Result, TaskResult
    from demosearch.evaluation.scoring import evaluate
    from demosearch.evaluation.tasks import TASKS, find_tasks, read_tasks

__all__ = [
    "TASKS",
    "Classifier",
    "Comparison",
    "Evaluation",
    "Gain",
    "Result",
    "TaskResult",
    "compare",
    "evaluate",
    "find_overlaps",
    "find_tasks",
    "gain_on",
    "read_tasks",
]

# Tasks are found and read before torch is imported, scores are computed after.
_HOMES = {
    "TASKS": "tasks",
    "Classifier": "probe",
    "Comparison": "comparison",
    "Evaluation": "result",
    "Gain": "gain",
    "Result": "result",
    "TaskResult": "result",
    "compare": "comparison",
    "evaluate": "scoring",
    "find_overlaps": "overlap",
    "find_tasks": "tasks",
    "gain_on": "gain",
    "read_tasks": "tasks",
}

__getattr__ = lazily(__name__, _HOMES)
