from __future__ import annotations

from collections import Counter

import pytest

from demosearch.candidates.curation import Curation, Reason, balanced, stands_in
from demosearch.candidates.labeling import clean_word


def test_a_pair_is_prepared_and_flagged() -> None:
    found = Curation().admit('A  "dog"\tbarks at night', "dog", "local:x")
    assert found is not None
    assert (found.sentence, found.word) == ("A 'dog' barks at night.", "Dog")
    assert found.word_in_sentence is True


@pytest.mark.parametrize(
    ("sentence", "word", "reason"),
    [
        ("A dog barks at night", "two words", Reason.NO_WORD),
        ("A dog barks at night", None, Reason.NO_WORD),
        ("A dog barks at night", "", Reason.NO_WORD),
        ("A dog barks at night", "B2B", Reason.NO_WORD),
        ("Too short", "Word", Reason.LENGTH),
        ("word " * 41, "Long", Reason.LENGTH),
        ("A dog <|endoftext|> barks", "Word", Reason.CONTROL),
        ("A dog \0 barks loudly", "Word", Reason.CONTROL),
        ("A dog \ud83d barks loudly", "Word", Reason.CONTROL),
        ("HELD out sentence", "Word", Reason.EVALUATION),
        ("was seen before.", "Other", Reason.DUPLICATE),
        ("Was the 'seen', before!", "Other", Reason.DUPLICATE),
    ],
)
def test_refusals_are_counted_by_reason(sentence: str, word: str | None, reason: Reason) -> None:
    curation = Curation(forbidden=["Held out sentence"])
    assert curation.admit("Was seen before", "Word", "x") is not None
    assert curation.admit(sentence, word, "x") is None
    assert curation.rejected == Counter({reason: 1})


def test_word_in_its_sentence_is_refused_only_on_request() -> None:
    assert Curation().admit("A dog barks loudly", "Dog", "x") is not None
    strict = Curation(refuse_word_in_sentence=True)
    assert strict.admit("A dog barks loudly", "Dog", "x") is None
    assert strict.rejected == Counter({Reason.WORD_IN_SENTENCE: 1})


@pytest.mark.parametrize(
    ("word", "sentence", "stands"),
    [
        ("Dog", "A dog barks.", True),
        ("Dog", "The dogma.", False),
        ("Ski", "They went skiing.", True),
        ("Riding", "A jockey rides.", True),
        ("Sport", "A jockey rides.", False),
    ],
)
def test_presence_is_of_the_word_in_any_form(word: str, sentence: str, stands: bool) -> None:
    assert stands_in(word, sentence) is stands


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("Cooking", "Cooking"),
        ('"cooking".', "Cooking"),
        ("**Horseback-riding**", "Horseback-riding"),
        ("горы", "Горы"),
        ("two words", None),
        ("The word is cooking.", None),
        ("42", None),
        ("", None),
        (None, None),
    ],
)
def test_answers_are_read_leniently_but_are_one_word(answer: str | None, word: str | None) -> None:
    assert clean_word(answer) == word


def test_balanced_order_takes_turns_and_is_seeded() -> None:
    items = [("noun", n) for n in range(40)] + [("verb", n) for n in range(10)]
    order = balanced(items, lambda item: item[0], seed=1)
    assert sorted(order) == sorted(items)
    assert Counter(kind for kind, _ in order[:20]) == {"noun": 10, "verb": 10}
    assert order == balanced(items, lambda item: item[0], seed=1)
    assert order != balanced(items, lambda item: item[0], seed=2)


def test_nearly_the_same_sentence_is_refused_only_with_the_same_word() -> None:
    first = "a small dark room below the ground in which wine is kept"
    second = "a small dark room below the ground in which beer is kept"
    curation = Curation()
    assert curation.admit(first, "Cellar", "x") is not None
    assert curation.admit(second, "cellar", "x") is None
    assert curation.rejected == Counter({Reason.NEAR_DUPLICATE: 1})
    assert curation.admit(second, "Brewery", "x") is not None


def test_another_language_is_refused_only_on_request() -> None:
    german = "Der Hund bellt in der Nacht und die Katze schläft"
    assert Curation().admit(german, "Hund", "x") is not None
    curation = Curation(language="en")
    assert curation.admit(german, "Hund", "x") is None
    assert curation.rejected == Counter({Reason.LANGUAGE: 1})
    # A short definition is not surely anything, and stays.
    assert curation.admit("meat from a deer", "Venison", "x") is not None


def test_offensive_words_are_refused_in_sentence_and_word() -> None:
    curation = Curation(offensive=["Darn"])
    assert curation.admit("This darn dog barks", "Dog", "x") is None
    assert curation.admit("This old dog barks", "darn", "x") is None
    assert curation.admit("This old dog darns socks", "Dog", "x") is not None
    assert curation.rejected == Counter({Reason.OFFENSIVE: 2})


def test_what_was_refused_is_kept_with_its_reason() -> None:
    curation = Curation(forbidden=["held out sentence"])
    curation.admits_sentence("Held out sentence", "local:x")
    curation.admit("A dog barks at night", "two words", "local:x")
    assert [(one.word, one.source, one.reason) for one in curation.refused] == [
        (None, "local:x", Reason.EVALUATION),
        ("two words", "local:x", Reason.NO_WORD),
    ]


def test_known_columns_come_along() -> None:
    found = Curation().admit("meat from a deer", "venison", "wordnet", pos="noun", topic="food")
    assert found is not None
    assert (found.pos, found.topic, found.words) == ("noun", "food", 4)
