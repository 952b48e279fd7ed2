"""The scripts of a text: which alphabets its letters belong to."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import regex

#: Scripts that are written without blanks between words.
UNSPACED_SCRIPTS = (
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"),
    *("Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Javanese", "Balinese"),
)
# Other scripts that are distinguished. The letters of the remaining ones count as one script.
_SPACED_SCRIPTS = (
    *("Latin", "Greek", "Cyrillic", "Armenian", "Georgian", "Hebrew", "Arabic", "Syriac", "Thaana"),
    *("Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada"),
    *("Malayalam", "Sinhala", "Hangul", "Ethiopic", "Mongolian", "Cherokee", "Canadian_Aboriginal"),
    *("Coptic", "Tifinagh", "Nko", "Adlam", "Ol_Chiki", "Meetei_Mayek", "Yi"),
)
#: Letters, as a set in a regular expression. `Nl` are letters with a value, e.g. 〇.
LETTERS = r"[\p{L}\p{Nl}]"
_UNSPACED = "".join(rf"\p{{scx={name}}}" for name in UNSPACED_SCRIPTS)
#: Letters of scripts without blanks, as a set in a regular expression of version 1.
UNSPACED_LETTERS = f"[{LETTERS}&&[{_UNSPACED}]]"

_LETTER_OR_MARK = regex.compile(r"[\p{L}\p{Nl}\p{M}]")
_LETTER = regex.compile(LETTERS)
_UNSPACED_LETTER = regex.compile(UNSPACED_LETTERS, regex.V1)
_SCRIPT = regex.compile(
    "|".join(rf"(?P<{name}>\p{{Script={name}}})" for name in (*_SPACED_SCRIPTS, *UNSPACED_SCRIPTS))
    + r"|(?P<common>[\p{Script=Common}\p{Script=Inherited}])"
)
_JAPANESE = frozenset({"Han", "Hiragana", "Katakana"})
_KANA = _JAPANESE - {"Han"}


def has_no_blanks(text: str) -> bool:
    """Whether at least half of the letters belong to scripts without blanks between words.

    >>> has_no_blanks("犬が吠える。"), has_no_blanks("개가 짖는다.")
    (True, False)
    """
    unspaced = len(_UNSPACED_LETTER.findall(text))
    return unspaced > 0 and 2 * unspaced >= len(_LETTER.findall(text))


def script_counts(text: str) -> Counter[str]:
    """Return the number of letters by script. Letters that several scripts use do not count.

    >>> script_counts("Tシャツ")
    Counter({'Katakana': 3, 'Latin': 1})
    """
    names = map(_script_of, _LETTER.findall(text))
    return Counter(name for name in names if name is not None)


def scripts(text: str) -> frozenset[str]:
    """Return the scripts of a text's letters and combining marks.

    >>> sorted(scripts("Tシャツ"))
    ['Katakana', 'Latin']
    """
    names = map(_script_of, _LETTER_OR_MARK.findall(text))
    return frozenset(name for name in names if name is not None)


def main_scripts(text: str) -> frozenset[str]:
    """Return the scripts that a text is written in, without those of single foreign words.

    Latin words occur in texts of all languages, so Latin must have at least half of the letters, and
    another script a quarter. Chinese characters and kana count as one script if there are kana.

    >>> sorted(main_scripts("DVDを見ました"))
    ['Han', 'Hiragana', 'Katakana']
    """
    counts = script_counts(text)
    groups = {frozenset({name}): count for name, count in counts.items()}
    if counts.keys() & _KANA:
        groups[_JAPANESE] = sum(groups.pop(frozenset({name}), 0) for name in _JAPANESE)
    most = [
        group
        for group, count in groups.items()
        if count * (2 if "Latin" in group else 4) >= counts.total()
    ]
    return frozenset().union(*(most or groups))


@lru_cache(maxsize=1 << 16)
def _script_of(character: str) -> str | None:
    """Return the script of a letter or mark; None if several scripts use it."""
    match = _SCRIPT.match(character)
    if match is None:
        return "other"
    return None if match.lastgroup == "common" else match.lastgroup
