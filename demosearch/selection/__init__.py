"""The selector: which demonstration makes this model the best encoder on these pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch.lazy import lazily

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
    "STUDY_NAME": "defaults",
    "Center": "search",
    "Measure": "measure",
    "Metric": "measure",
    "Objective": "objective",
    "SearchResult": "search",
    "SentenceEncoder": "objective",
    "Strategy": "study",
    "find_metric": "measure",
}

__getattr__ = lazily(__name__, _HOMES)
