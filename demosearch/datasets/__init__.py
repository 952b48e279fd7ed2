"""Sentence pairs and classification tasks from files, SentEval folders, or the hub."""

from demosearch.datasets.pairs import Pairs
from demosearch.datasets.sources import Split, evaluation_sentences, read_pairs, read_sets

__all__ = ["Pairs", "Split", "evaluation_sentences", "read_pairs", "read_sets"]
