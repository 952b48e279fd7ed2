"""The generator: word labeling, dictionary pairs, and their curation."""

from demosearch.candidates.file import Candidate, read_candidates, write_candidates
from demosearch.candidates.generate import CandidateSettings, Generated, generate

__all__ = [
    "Candidate",
    "CandidateSettings",
    "Generated",
    "generate",
    "read_candidates",
    "write_candidates",
]
