"""The selector: which demonstration makes this model the best encoder on these pairs."""

from demosearch.selection.measure import Measure, Metric, find_metric
from demosearch.selection.objective import Objective, SentenceEncoder
from demosearch.selection.search import STUDY_NAME, Center, SearchResult, search
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
    "search",
]
