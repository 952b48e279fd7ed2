from __future__ import annotations

import hashlib

import pytest
from pydantic import ValidationError

from demosearch.demonstration import Demonstration


def test_the_id_is_the_beginning_of_a_hash() -> None:
    jockey = Demonstration(sentence="A jockey riding a horse.", word="Equestrian")
    digest = hashlib.sha256(b"A jockey riding a horse.\x1fEquestrian").hexdigest()
    assert jockey.id == digest[:12]


def test_an_edited_text_gets_a_new_id() -> None:
    old = Demonstration(sentence="A dog.", word="Dog")
    assert Demonstration(id=old.id, sentence="A cat.", word="Cat").id != old.id


@pytest.mark.parametrize(
    ("sentence", "word"),
    [('a "quoted" one.', "X"), ("two\nlines.", "X"), ("fine.", 'X"'), ("", "X"), ("a.", " ")],
)
def test_text_that_would_break_out_of_the_template_is_refused(sentence: str, word: str) -> None:
    with pytest.raises(ValidationError):
        Demonstration(sentence=sentence, word=word)
