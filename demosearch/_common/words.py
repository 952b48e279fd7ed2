"""What a word is in any language, how long a text is, and when two texts are the same."""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import Literal, NamedTuple

import regex

from demosearch._common.scripts import (
    LETTERS,
    UNSPACED_LETTERS,
    UNSPACED_SCRIPTS,
    has_no_blanks,
    script_counts,
)

# Characters that continue a word: letters, combining marks (vowel signs, points, accents), small digits
# as in a formula, and the joiners and hyphens that are not drawn.
_INNER = r"[\p{L}\p{Nl}\p{No}\p{M}\u00AD\u200C\u200D\u2060]"
# Hyphens (also the Hebrew and the Armenian one), apostrophes (also the Hebrew ones), the middle dots of
# Catalan and of foreign names, and the dot between Tibetan syllables.
_JOINER = "[-\u2010\u2011\u058a\u05be'\u2019\uff07\u05f3\u05f4\u00b7\u30fb\u0f0b\u0f0c]"

#: A word: letters of any script with their marks, and inner hyphens or apostrophes: "Horseback-riding".
WORD = regex.compile(rf"{LETTERS}{_INNER}*(?:{_JOINER}{LETTERS}{_INNER}*)*\u05f3?")

_LETTER_OR_MARK = regex.compile(r"[\p{L}\p{M}\p{N}]")
_COUNTED = regex.compile(r"[\p{L}\p{N}]")
_TERM = regex.compile(
    rf"(?P<unspaced>{UNSPACED_LETTERS}\p{{M}}*)"
    rf"|[[\p{{L}}\p{{N}}\p{{M}}_]--{UNSPACED_LETTERS}]+",
    regex.V1,
)

# In letters. The scripts of a group count together.
_LONGEST_UNSPACED_WORD = {("Han", "Hiragana", "Bopomofo"): 8, ("Katakana",): 20}
_LONGEST_OTHER_UNSPACED_WORD = 14

# Points that a writer may leave out (Hebrew, Arabic), the Arabic stroke that stretches a word, and
# characters that are not drawn.
_POINTS = regex.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u0652\u0656-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0640]"
)
_INVISIBLE = regex.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
# The apostrophes, and the two Turkish letters i after case folding.
_SAME = (("\u2019", "'"), ("\u02bc", "'"), ("i\u0307", "i"), ("\u0131", "i"))
_FINAL = regex.compile(r"[\s\p{Terminal_Punctuation}\p{Sentence_Terminal}\u2026]+$")


class Length(NamedTuple):
    """The length of a text.

    Attributes:
        number: number of words or characters.
        unit: `words`, or `characters` for a text in a script that is written without blanks.
    """

    number: int
    unit: Literal["words", "characters"]


def length(text: str) -> Length:
    """Return the length of a text in words, or in characters if its script has no blanks.

    The script decides: if at least half of the letters belong to a script that is written without
    blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan, ...), the length is the
    number of letters and digits; combining marks and punctuation do not count. Otherwise it is the
    number of parts between blanks.

    >>> length("A dog barks.")
    Length(number=3, unit='words')
    >>> length("犬が吠える。")
    Length(number=5, unit='characters')
    """
    if has_no_blanks(text):
        return Length(letters_and_digits(text), "characters")
    # The second character is the blank of Ethiopic.
    return Length(len(text.replace("\u1361", " ").split()), "words")


def letters_and_digits(text: str) -> int:
    """Return the number of letters and digits, without combining marks.

    >>> letters_and_digits("किताब")
    3
    """
    return len(_COUNTED.findall(unicodedata.normalize("NFC", text)))


def letters_of(text: str) -> str:
    """Return the letters, combining marks and digits of a folded text.

    >>> letters_of("A man, riding!")
    'amanriding'
    """
    return "".join(_LETTER_OR_MARK.findall(fold(text)))


def is_word(text: str) -> bool:
    """Whether a text is a single word.

    Letters of any script with their combining marks, with inner hyphens or apostrophes. In a script
    without blanks, where a sentence can have the same form, a word also has at most 8 characters, or 20
    in katakana and 14 in Thai and the other alphabets.

    >>> is_word("किताब"), is_word("図書館"), is_word("two words")
    (True, True, False)
    """
    if WORD.fullmatch(text) is None:
        return False
    counts = script_counts(text)
    for scripts, most in _LONGEST_UNSPACED_WORD.items():
        if sum(counts.pop(script, 0) for script in scripts) > most:
            return False
    return all(counts[script] <= _LONGEST_OTHER_UNSPACED_WORD for script in UNSPACED_SCRIPTS)


def fold(text: str) -> str:
    """Return a text for comparisons.

    It is the same for texts that differ only in case, in their Unicode form (NFC, NFD, full width), in
    the points of Hebrew and Arabic, in the kind of apostrophe, or in characters that are not drawn.

    >>> fold("L’E\u0301te\u0301") == fold("l'été")
    True
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = _INVISIBLE.sub("", without_points(text))
    for character, same in _SAME:
        text = text.replace(character, same)
    return text


def without_points(text: str) -> str:
    """Return a text without the points of Hebrew and Arabic, which a writer may leave out."""
    bare: str = _POINTS.sub("", text)
    return bare


def without_final_punctuation(text: str) -> str:
    """Return a text without the punctuation marks of any script at its end.

    >>> without_final_punctuation("犬が吠える。.")
    '犬が吠える'
    """
    bare: str = _FINAL.sub("", text)
    return bare


def words(text: str) -> list[str]:
    """Return the words of a text, folded. A clause without blanks counts as one word.

    >>> words("L'été, in Paris!")
    ["l'été", 'in', 'paris']
    """
    return [match[0] for match in WORD.finditer(fold(text))]


def terms(text: str) -> tuple[str, ...]:
    """Return what is compared to find duplicates: words and numbers, without case and punctuation.

    In a script without blanks, these are the pairs of neighboring characters.

    >>> terms("A dog, 3 犬がいる")
    ('a', 'dog', '3', '犬が', 'がい', 'いる')
    """
    found: list[str] = []
    characters: list[str] = []
    for match in _TERM.finditer(fold(text)):
        if match["unspaced"]:
            characters.append(match[0])
        else:
            found += [*_pairs(characters), match[0]]
            characters = []
    return (*found, *_pairs(characters))


def _pairs(characters: list[str]) -> list[str]:
    return [first + second for first, second in pairwise(characters)] or characters
