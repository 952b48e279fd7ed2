"""The selector: which demonstration makes this model the best encoder on these pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.metrics.metric import Metric, find_metric
    from demosearch.selection.inputs import Center, SearchInputs
    from demosearch.selection.objective import Objective
    from demosearch.selection.pair_encoder import PairEncoder, SentenceEncoder
    from demosearch.selection.search import SearchResult
    from demosearch.selection.settings import STUDY_NAME, SearchSettings, Strategy

__all__ = [
    "STUDY_NAME",
    "Center",
    "Metric",
    "Objective",
    "PairEncoder",
    "SearchInputs",
    "SearchResult",
    "SearchSettings",
    "SentenceEncoder",
    "Strategy",
    "find_metric",
]

# Options are known to be right before Optuna is imported. (`search` itself is its module's name here.)
_HOMES = {
    "STUDY_NAME": "demosearch.selection.settings",
    "Center": "demosearch.selection.inputs",
    "Objective": "demosearch.selection.objective",
    "Metric": "demosearch.metrics.metric",
    "PairEncoder": "demosearch.selection.pair_encoder",
    "SearchResult": "demosearch.selection.search",
    "SentenceEncoder": "demosearch.selection.pair_encoder",
    "SearchInputs": "demosearch.selection.inputs",
    "SearchSettings": "demosearch.selection.settings",
    "Strategy": "demosearch.selection.settings",
    "find_metric": "demosearch.metrics.metric",
}

__getattr__ = lazily(__name__, _HOMES)
