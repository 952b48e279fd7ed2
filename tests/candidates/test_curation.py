from __future__ import annotations

import sys
import unicodedata
from collections import Counter

import pytest

from demosearch.candidates.curation import Curation, Reason, balanced, round_robin
from demosearch.candidates.labeling import clean_word
from demosearch.errors import UserError


def test_a_pair_is_prepared_and_flagged() -> None:
    candidate = Curation().admit('A  "dog"\tbarks at night', "dog", "local:x")
    assert candidate is not None
    assert (candidate.sentence, candidate.word) == ("A 'dog' barks at night.", "Dog")
    assert candidate.word_in_sentence is True


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
def test_rejections_are_counted_by_reason(sentence: str, word: str | None, reason: Reason) -> None:
    curation = Curation(forbidden=["Held out sentence"])
    assert curation.admit("Was seen before", "Word", "x") is not None
    assert curation.admit(sentence, word, "x") is None
    assert curation.rejected == Counter({reason: 1})


def test_a_word_in_its_sentence_is_rejected_only_on_request() -> None:
    assert Curation().admit("A dog barks loudly", "Dog", "x") is not None
    strict = Curation(refuse_word_in_sentence=True)
    assert strict.admit("A dog barks loudly", "Dog", "x") is None
    assert strict.rejected == Counter({Reason.WORD_IN_SENTENCE: 1})


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("Cooking", "Cooking"),
        ('"cooking".', "Cooking"),
        ("**Horseback-riding**", "Horseback-riding"),
        ("горы", "Горы"),
        ("「図書館」。", "図書館"),
        ("（图书馆）", "图书馆"),
        ("बर्फ।", "बर्फ"),
        ("كِتَابٌ؟", "كِتَابٌ"),
        ("« réveil »", "Réveil"),
        ("¡hola!", "Hola"),
        ("საქართველო", "საქართველო"),
        ("二匹の猫がソファの上で寝ています。", None),
        ("two words", None),
        ("The word is cooking.", None),
        ("42", None),
        ("", None),
        (None, None),
    ],
)
def test_quotes_and_punctuation_are_removed_and_one_word_is_required(
    answer: str | None, word: str | None
) -> None:
    assert clean_word(answer) == word


def test_a_turkish_word_begins_with_a_dotted_capital() -> None:
    assert clean_word("ilkbahar", "Kış bitti ve ağaçlar yeşillendi.") == "İlkbahar"
    assert clean_word("ışık") == "Işık"
    assert clean_word("ilk", "The first one.") == "Ilk"


def test_groups_alternate_in_a_balanced_order_that_is_seeded() -> None:
    items = [("noun", n) for n in range(40)] + [("verb", n) for n in range(10)]
    order = balanced(items, lambda item: item[0], seed=1)
    assert sorted(order) == sorted(items)
    assert Counter(kind for kind, _ in order[:20]) == {"noun": 10, "verb": 10}
    assert order == balanced(items, lambda item: item[0], seed=1)
    assert order != balanced(items, lambda item: item[0], seed=2)


def test_order_inside_a_group_is_kept() -> None:
    assert round_robin("AbCde", str.isupper) == ["b", "A", "d", "C", "e"]


def test_a_near_duplicate_is_rejected_only_with_the_same_word() -> None:
    first = "a small dark room below the ground in which wine is kept"
    second = "a small dark room below the ground in which beer is kept"
    curation = Curation()
    assert curation.admit(first, "Cellar", "x") is not None
    assert curation.admit(second, "cellar", "x") is None
    assert curation.rejected == Counter({Reason.NEAR_DUPLICATE: 1})
    assert curation.admit(second, "Brewery", "x") is not None


def test_another_language_is_rejected_only_on_request() -> None:
    german = "Der Hund bellt in der Nacht und die Katze schläft"
    assert Curation().admit(german, "Hund", "x") is not None
    curation = Curation(language="en")
    assert curation.admit(german, "Hund", "x") is None
    assert curation.rejected == Counter({Reason.LANGUAGE: 1})
    # The language of a short definition is uncertain, so it is admitted.
    assert curation.admit("meat from a deer", "Venison", "x") is not None


def test_offensive_words_are_rejected_in_sentence_and_word() -> None:
    curation = Curation(offensive=["Darn"])
    assert curation.admit("This darn dog barks", "Dog", "x") is None
    assert curation.admit("This old dog barks", "darn", "x") is None
    assert curation.admit("This old dog darns socks", "Dog", "x") is not None
    assert curation.rejected == Counter({Reason.OFFENSIVE: 2})


def test_rejected_pairs_are_recorded_with_their_reasons() -> None:
    curation = Curation(forbidden=["held out sentence"])
    curation.admits_sentence("Held out sentence", "local:x")
    curation.admit("A dog barks at night", "two words", "local:x")
    assert [(pair.word, pair.source, pair.reason) for pair in curation.rejections] == [
        (None, "local:x", Reason.EVALUATION),
        ("two words", "local:x", Reason.NO_WORD),
    ]


def test_other_columns_are_added_to_the_candidate() -> None:
    candidate = Curation().admit("meat from a deer", "venison", "wordnet", pos="noun", topic="food")
    assert candidate is not None
    assert (candidate.pos, candidate.topic, candidate.words) == ("noun", "food", 4)


def test_the_language_check_without_its_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(UserError, match=r"language check requires .*'demosearch\[quality\]'"):
        Curation(language="en")


@pytest.mark.parametrize(
    ("sentence", "word", "reason"),
    [
        ("鹿の肉", "鹿肉", Reason.CHARACTERS),
        ("猫が寝ています。" * 20, "猫", Reason.CHARACTERS),
        ("नमस्ते दुनिया", "अभिवादन", Reason.LENGTH),
        ("किताब " * 41, "किताब", Reason.LENGTH),
        # Of the dev set, in another Unicode form, without points, and with other punctuation.
        (unicodedata.normalize("NFD", "Un été très chaud"), "Été", Reason.EVALUATION),
        ("كتاب جديد على الطاولة", "كتاب", Reason.EVALUATION),
        ("二匹の猫が寝ています", "猫", Reason.EVALUATION),
        ("पानी जो जम गया हो", "बर्फ", Reason.EVALUATION),
        ("水が冷えて、固まったもの。", "こおり", Reason.DUPLICATE),
    ],
)
def test_the_rules_hold_in_other_languages(sentence: str, word: str, reason: Reason) -> None:
    curation = Curation(
        forbidden=[
            "Un été très chaud.",
            "كِتَابٌ جَدِيدٌ عَلَى الطَّاوِلَةِ",
            "二匹の猫が寝ています。",
            "पानी जो जम गया हो।",
        ]
    )
    assert curation.admit("水が冷えて固まったもの", "氷", "x") is not None
    assert curation.admit(sentence, word, "x") is None
    assert curation.rejected == Counter({reason: 1})


def test_sentences_that_differ_in_vowel_signs_are_no_duplicates() -> None:
    curation = Curation()
    assert curation.admit("यह मेरी किताब है", "पुस्तक", "x") is not None
    # The same consonants with other vowel signs.
    assert curation.admit("यह मेरा कातिब है", "लेखक", "x") is not None


def test_near_duplicates_without_blanks_have_nearly_the_same_characters() -> None:
    first = "多くの本を集めて人々に貸し出す公共の大きな施設"
    curation = Curation()
    assert curation.admit(first, "図書館", "x") is not None
    assert curation.admit(first.replace("本", "絵"), "図書館", "x") is None
    assert curation.rejected == Counter({Reason.NEAR_DUPLICATE: 1})
    assert curation.admit("人々が集まって本を読む静かな公共の場所", "図書館", "x") is not None


def test_the_length_is_a_column_in_the_unit_of_the_script() -> None:
    hindi = Curation().admit("पानी जो ठंड से जम गया हो", "बर्फ", "x")
    japanese = Curation().admit("水が冷えて固まったもの", "氷", "x")
    assert hindi is not None
    assert japanese is not None
    assert (hindi.words, hindi.characters) == (7, None)
    assert (japanese.words, japanese.characters) == (None, 11)


def test_offensive_words_are_found_without_blanks() -> None:
    curation = Curation(offensive=["馬鹿"])
    assert curation.admit("あの馬鹿は来なかった", "人", "x") is None
    assert curation.rejected == Counter({Reason.OFFENSIVE: 1})


def test_similar_languages_are_rejected_together() -> None:
    # Hindi, Nepali or Marathi, none of which is certain.
    curation = Curation(language="en")
    assert curation.admit("पानी जो ठंड से जम गया हो।", "बर्फ", "x") is None
    assert curation.rejected == Counter({Reason.LANGUAGE: 1})
