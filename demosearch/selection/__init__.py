"""The selector: which demonstration makes this model the best encoder on these pairs."""

from demosearch.selection.objective import Objective, SentenceEncoder
from demosearch.selection.search import SearchResult, search
from demosearch.selection.study import Strategy

__all__ = ["Objective", "SearchResult", "SentenceEncoder", "Strategy", "search"]
