from __future__ import annotations

import hashlib
import json

import pytest

from demosearch.candidates.chat_prompt import (
    PROMPT_VERSION,
    RESPONSE_FORMAT,
    messages_for,
    parse_answer,
)


def test_a_changed_prompt_has_a_new_version() -> None:
    # Cached answers are keyed by the version, so the prompt must not change without it.
    text = json.dumps([messages_for("A cat sleeps."), RESPONSE_FORMAT])
    assert (PROMPT_VERSION, hashlib.sha256(text.encode()).hexdigest()[:12]) == ("2", "d506f5589683")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('"Riding"', "Riding"),
        ("Riding", "Riding"),
        (' {"word":"Riding"} ', "Riding"),
        ('```json\n{"word": "Riding"}\n```', "Riding"),
        ('{"word": 3}', None),
        ('{"word": ', None),
        ("", None),
    ],
)
def test_answers_are_parsed_in_every_usual_form(text: str, word: str | None) -> None:
    assert parse_answer(text) == word
