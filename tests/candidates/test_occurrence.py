from __future__ import annotations

import unicodedata

import pytest

from demosearch.candidates.occurrence import contains_any, occurs_in


@pytest.mark.parametrize(
    ("word", "sentence", "occurs"),
    [
        ("Dog", "A dog barks.", True),
        ("Dog", "The dogma.", False),
        ("Ski", "They went skiing.", True),
        ("Riding", "A jockey rides.", True),
        ("Sport", "A jockey rides.", False),
    ],
)
def test_a_word_occurs_in_any_form(word: str, sentence: str, occurs: bool) -> None:
    assert occurs_in(word, sentence) is occurs


@pytest.mark.parametrize(
    ("word", "sentence", "language", "occurs"),
    [
        ("किताब", "वह किताब पढ़ता है।", None, True),
        ("कातिब", "वह किताब पढ़ता है।", None, False),
        ("Été", unicodedata.normalize("NFD", "L'été est chaud."), None, True),
        ("Eau", "L’eau est froide.", None, True),
        ("كتاب", "قَرَأَ الوَلَدُ كِتَابًا", "ar", True),
        ("猫", "二匹の猫が寝ています。", None, True),
        ("犬", "二匹の猫が寝ています。", None, False),
        ("บ้าน", "ผู้ชายกลับบ้าน", None, True),
        # Stems of the language, if it is given.
        ("Chanteuses", "Une chanteuse arrive.", "fr", True),
        ("Chanteuses", "Un chien arrive.", "fr", False),
        ("Книги", "Он читает книгу.", "ru", True),
        ("Книги", "Он читает книгу.", None, False),
        # There is no Korean stemmer.
        ("책", "책 한 권", "ko", True),
    ],
)
def test_a_word_occurs_in_other_languages(
    word: str, sentence: str, language: str | None, occurs: bool
) -> None:
    assert occurs_in(word, sentence, language) is occurs


def test_listed_words_are_found_in_every_script() -> None:
    assert contains_any({"darn"}, "This Darn dog.")
    assert not contains_any({"darn"}, "This dog darns socks.")
    assert contains_any({"馬鹿"}, "あの馬鹿は来ない。")
    assert not contains_any({"किता"}, "वह किताब पढ़ता है।")
    assert not contains_any((), "A dog.")
