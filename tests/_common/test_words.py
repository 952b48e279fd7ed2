"""Words of many languages. The truth about characters is the standard library's Unicode data."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from demosearch._common.scripts import main_scripts, script_counts
from demosearch._common.words import WORD, fold, is_word, length, letters_of, terms, words

WORDS = {
    "Hindi": "किताब",
    "Hindi, marks only at the end": "बर्फ",
    "Marathi, zero-width joiner": "दऱ्‍या",
    "Bengali": "বৃষ্টি",
    "Malayalam, old chillu": "അവന്‍",
    "Tamil": "புத்தகம்",
    "Sinhala": "ශ්‍රී",
    "Thai": "หนังสือ",
    "Thai, university": "มหาวิทยาลัย",
    "Lao": "ປຶ້ມ",
    "Khmer": "សៀវភៅ",
    "Burmese": "စာအုပ်",
    "Tibetan": "དཔེ་ཆ",
    "Arabic": "كتاب",
    "Arabic, vocalized": "كِتَابٌ",
    "Persian, zero-width non-joiner": "می‌خواهد",
    "Hebrew": "ספר",
    "Hebrew, points": "סֵפֶר",
    "Hebrew, maqaf": "בית־ספר",
    "Hebrew, gershayim": "צה״ל",
    "French": "réveil",
    "French, NFD": unicodedata.normalize("NFD", "réveil"),
    "French, apostrophe": "aujourd’hui",
    "Ukrainian": "п'ять",
    "Ukrainian, letter apostrophe": "пʼять",
    "Catalan": "col·legi",
    "Vietnamese, NFD": unicodedata.normalize("NFD", "tiếng"),
    "Korean": "도서관",
    "Korean, NFD": unicodedata.normalize("NFD", "도서관"),
    "Chinese": "图书馆",
    "Chinese, idiom": "不管三七二十一",
    "Japanese": "打ち合わせ",
    "Japanese, katakana": "コミュニケーション",
    "Japanese, both": "コミュニケーション能力",
    "Japanese, Latin": "Tシャツ",
    "English": "horseback-riding",
    "Amharic": "መጽሐፍ",
    "Georgian": "წიგნი",
}
SENTENCES = {
    "Japanese": "二匹の猫がソファの上で寝ています",
    "Chinese": "一个男人在公园里骑自行车",
    "Thai": "ผู้ชายขี่จักรยานในสวน",
    "Hindi": "वह घर जाता है",
    "English": "two words",
}


@pytest.mark.parametrize("language", WORDS)
def test_a_word_of_any_language_is_one_word(language: str) -> None:
    assert is_word(WORDS[language])


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_not_a_word_even_without_blanks(language: str) -> None:
    assert not is_word(SENTENCES[language])


@pytest.mark.parametrize("text", ["", "42", "B2B", "-", "don't!", "½", "😀", "\u0301", "a b", "_"])
def test_other_characters_are_not_part_of_a_word(text: str) -> None:
    assert not is_word(text)


def test_every_letter_and_every_combining_mark_belongs_to_a_word() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] == "L":
            assert WORD.fullmatch(character), hex(code)
        elif category[0] == "M":
            assert WORD.fullmatch(f"क{character}त"), hex(code)
            assert not WORD.match(character), hex(code)


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("A dog , it barks .", 6, "words"),
        ("पानी जो ठंड से जम गया हो।", 7, "words"),
        ("한 남자가 공원에서 자전거를 타고 있다.", 6, "words"),
        ("Tiếng Việt là ngôn ngữ", 5, "words"),
        ("ሰላም፡ለዓለም፡ሁሉ።", 3, "words"),
        ("The sign says 出口 in red letters.", 7, "words"),
        ("水が冷えて固まったもの。", 11, "characters"),
        ("iPhoneの電池を3個買いました。", 17, "characters"),
        ("ผู้ชาย ขี่จักรยาน", 11, "characters"),
        ("", 0, "words"),
        ("...", 1, "words"),
    ],
)
def test_the_script_decides_how_the_length_is_counted(text: str, number: int, unit: str) -> None:
    assert length(text) == (number, unit)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Été", unicodedata.normalize("NFD", "éTÉ")),
        ("كِتَابٌ", "كتاب"),
        ("שָׁלוֹם", "שלום"),
        ("می‌خواهد", "میخواهد"),
        ("l’eau", "L'eau"),
        ("İSTANBUL", "istanbul"),
        ("ＡＢＣ", "abc"),
        ("ｶﾀｶﾅ", "カタカナ"),
        ("Straße", "STRASSE"),
    ],
)
def test_texts_that_differ_in_spelling_only_are_the_same_in_comparisons(
    first: str, second: str
) -> None:
    assert first != second
    assert fold(first) == fold(second)


def test_vowel_signs_are_not_ignored() -> None:
    assert fold("किताब") != fold("कातिब")
    assert letters_of("किताब।") == "किताब"
    assert terms("किताब पढ़ो।") == tuple(map(fold, ("किताब", "पढ़ो")))
    assert words("वह किताब।") == ["वह", "किताब"]


def test_terms_of_a_script_without_blanks_are_pairs_of_characters() -> None:
    assert terms("猫が寝る。") == ("猫が", "が寝", "寝る")
    assert terms("猫") == ("猫",)
    assert terms("The dog's 2 cats") == ("the", "dog", "s", "2", "cats")


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("A dog barks.", {"Latin"}),
        ("Tシャツを買う", {"Han", "Hiragana", "Katakana"}),
        ("JRのIC Suicaカード", {"Latin", "Han", "Hiragana", "Katakana"}),
        ("我新买了iPad", {"Latin", "Han"}),
        ("我昨天买了一台新的iPad", {"Han"}),
        ("한국어 문장", {"Hangul"}),
        ("123 !?", set()),
        ("𞤀𞤣𞤤𞤢𞤥", {"Adlam"}),
        ("𐒓𐒘𐒈𐒑𐒛𐒒", {"other"}),
    ],
)
def test_the_scripts_of_a_text_are_those_of_most_of_its_letters(
    text: str, scripts: set[str]
) -> None:
    assert main_scripts(text) == scripts


def test_letters_that_several_scripts_use_have_no_script() -> None:
    assert script_counts("コーヒー") == {"Katakana": 2}
    assert script_counts("x̂") == {"Latin": 1}
