"""The candidate generator: labeled sentences and dictionary pairs, and their curation."""

from demosearch.candidates.file import (
    Candidate,
    merge_candidates,
    read_candidates,
    write_candidates,
)
from demosearch.candidates.generate import Generated, NoCandidatesError, generate
from demosearch.candidates.settings import CandidateSettings

__all__ = [
    "Candidate",
    "CandidateSettings",
    "Generated",
    "NoCandidatesError",
    "generate",
    "merge_candidates",
    "read_candidates",
    "write_candidates",
]
