"""The generator: word labeling, dictionary pairs, and their curation."""

from demosearch.candidates.file import (
    Candidate,
    merge_candidates,
    read_candidates,
    write_candidates,
)
from demosearch.candidates.generate import CandidateSettings, Generated, generate
from demosearch.candidates.nearby import MODELS, models_of

__all__ = [
    "MODELS",
    "Candidate",
    "CandidateSettings",
    "Generated",
    "generate",
    "merge_candidates",
    "models_of",
    "read_candidates",
    "write_candidates",
]
