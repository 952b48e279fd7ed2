"""The generator: word labeling, dictionary pairs, and their curation."""

from demosearch.candidates.file import (
    Candidate,
    merge_candidates,
    read_candidates,
    write_candidates,
)
from demosearch.candidates.generate import CandidateSettings, Generated, generate

__all__ = [
    "Candidate",
    "CandidateSettings",
    "Generated",
    "generate",
    "merge_candidates",
    "read_candidates",
    "write_candidates",
]
