"""The selector: which demonstration makes this model the best encoder on these pairs."""

from demosearch.selection.objective import Objective, SentenceEncoder
from demosearch.selection.search import STUDY_NAME, SearchResult, search
from demosearch.selection.study import Strategy

__all__ = ["STUDY_NAME", "Objective", "SearchResult", "SentenceEncoder", "Strategy", "search"]
