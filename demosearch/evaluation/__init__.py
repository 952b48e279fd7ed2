"""The paper's evaluations of an embedder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.evaluation.comparison import Comparison, compare
    from demosearch.evaluation.overlap import find_overlaps
    from demosearch.evaluation.probe import Classifier
    from demosearch.evaluation.result import Evaluation, Result, TaskResult
    from demosearch.evaluation.scoring import evaluate
    from demosearch.evaluation.tasks import TASKS, find_tasks, read_tasks
    from demosearch.selection.gain import Gain, gain_on

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

# Tasks are found and read before torch is loaded, and scores are computed afterwards.
_MODULES = {
    "TASKS": "demosearch.evaluation.tasks",
    "Classifier": "demosearch.evaluation.probe",
    "Comparison": "demosearch.evaluation.comparison",
    "Evaluation": "demosearch.evaluation.result",
    "Gain": "demosearch.selection.gain",
    "Result": "demosearch.evaluation.result",
    "TaskResult": "demosearch.evaluation.result",
    "compare": "demosearch.evaluation.comparison",
    "evaluate": "demosearch.evaluation.scoring",
    "find_overlaps": "demosearch.evaluation.overlap",
    "find_tasks": "demosearch.evaluation.tasks",
    "gain_on": "demosearch.selection.gain",
    "read_tasks": "demosearch.evaluation.tasks",
}

__getattr__ = lazily(__name__, _MODULES)
