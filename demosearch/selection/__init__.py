"""The selector: which demonstration makes this model the best encoder on these pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.selection.defaults import STUDY_NAME
    from demosearch.selection.measure import Measure, Metric, find_metric
    from demosearch.selection.objective import Objective, SentenceEncoder
    from demosearch.selection.search import Center, SearchResult
    from demosearch.selection.study import Strategy

__all__ = [
    "STUDY_NAME",
    "Center",
    "Measure",
    "Metric",
    "Objective",
    "SearchResult",
    "SentenceEncoder",
    "Strategy",
    "find_metric",
]

# Options are known to be right before Optuna is imported. (`search` itself is its module's name here.)
_HOMES = {
    "STUDY_NAME": "demosearch.selection.defaults",
    "Center": "demosearch.selection.search",
    "Measure": "demosearch.selection.measure",
    "Metric": "demosearch.selection.measure",
    "Objective": "demosearch.selection.objective",
    "SearchResult": "demosearch.selection.search",
    "SentenceEncoder": "demosearch.selection.objective",
    "Strategy": "demosearch.selection.study",
    "find_metric": "demosearch.selection.measure",
}

__getattr__ = lazily(__name__, _HOMES)
