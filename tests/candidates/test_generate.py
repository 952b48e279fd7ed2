from __future__ import annotations

import logging
from collections import Counter

import pytest

from demosearch.candidates import CandidateSettings, generate
from demosearch.errors import UserError

DICTIONARY = CandidateSettings(labeler="none", dictionary="starter", n_dictionary=40)


def test_dictionary_pairs_are_balanced_and_seeded() -> None:
    first, again = generate(DICTIONARY), generate(DICTIONARY)
    other = generate(DICTIONARY, seed=1)
    assert first.candidates == again.candidates != other.candidates
    assert Counter(candidate.pos for candidate in first.candidates) == {
        "noun": 10,
        "verb": 10,
        "adjective": 10,
        "adverb": 10,
    }
    assert first.sources == {"starter": 40}


def test_forbidden_sentences_are_rejected() -> None:
    leaked = generate(DICTIONARY).candidates[0].sentence
    generated = generate(DICTIONARY, forbidden=[leaked.upper()])
    assert leaked not in [candidate.sentence for candidate in generated.candidates]
    assert generated.rejected["sentence of a dev or test set"] == 1
    assert len(generated.candidates) == 40


def test_fewer_candidates_than_requested_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        generate(DICTIONARY.model_copy(update={"n_dictionary": 1000}))
    assert "starter gave only 247 of 1000 candidates" in caplog.text


def test_settings_that_ask_for_no_candidates_are_an_error() -> None:
    with pytest.raises(UserError, match="no candidate was built"):
        generate(CandidateSettings(labeler="none", dictionary="none"))
