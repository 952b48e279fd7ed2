"""The search for the demonstrations that make a model the best encoder of given pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.metrics.metric import Metric, find_metric
    from demosearch.postprocess import Unlabeled
    from demosearch.selection.inputs import SearchInputs
    from demosearch.selection.objective import Objective
    from demosearch.selection.pair_encoder import PairEncoder, SentenceEncoder
    from demosearch.selection.search import SearchResult
    from demosearch.selection.settings import STUDY_NAME, SearchSettings, Strategy

__all__ = [
    "STUDY_NAME",
    "Metric",
    "Objective",
    "PairEncoder",
    "SearchInputs",
    "SearchResult",
    "SearchSettings",
    "SentenceEncoder",
    "Strategy",
    "Unlabeled",
    "find_metric",
]

# Imported on first use, so that options are checked before Optuna is imported. The function `search` is
# missing because a module has its name.
_HOMES = {
    "STUDY_NAME": "demosearch.selection.settings",
    "Objective": "demosearch.selection.objective",
    "Metric": "demosearch.metrics.metric",
    "PairEncoder": "demosearch.selection.pair_encoder",
    "SearchResult": "demosearch.selection.search",
    "SentenceEncoder": "demosearch.selection.pair_encoder",
    "SearchInputs": "demosearch.selection.inputs",
    "SearchSettings": "demosearch.selection.settings",
    "Strategy": "demosearch.selection.settings",
    "Unlabeled": "demosearch.postprocess",
    "find_metric": "demosearch.metrics.metric",
}

__getattr__ = lazily(__name__, _HOMES)
