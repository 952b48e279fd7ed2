"""Whether a word occurs in a sentence, in any form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import regex
import snowballstemmer

from demosearch._common.scripts import has_no_blanks
from demosearch._common.words import fold, words

# ISO 639 codes of Snowball's stemmers.
_STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "st": "sesotho",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
_APOSTROPHE = regex.compile("['\u05f3\u05f4]")


def occurs_in(word: str, sentence: str, language: str | None = None) -> bool:
    """Whether a word, or another form of it, occurs in a sentence.

    Stems are compared. In a language without a stemmer the word itself must occur, and in a script
    without blanks between words, its characters. A word after an elision counts ("L'eau").

    Args:
        word: the word.
        sentence: the sentence.
        language: ISO 639-1 code; None means English. Words in other scripts have no English stem, so
            that the word itself must occur.

    >>> occurs_in("Riding", "A jockey rides a horse.")
    True
    >>> occurs_in("馬", "騎手が馬に乗る。"), occurs_in("Eau", "L'eau est froide.", "fr")
    (True, True)
    """
    if has_no_blanks(word):
        return fold(word) in fold(sentence)
    stems = _stems([fold(word)], language)
    return not stems.isdisjoint(_stems(_forms(sentence), language))


def contains_any(listed: Iterable[str], sentence: str) -> bool:
    """Whether a sentence contains one of some words, in exactly this form.

    Args:
        listed: the words, folded.
        sentence: the sentence.
    """
    listed = set(listed)
    if not listed:
        return False
    if not listed.isdisjoint(_forms(sentence)):
        return True
    folded = fold(sentence)
    return any(word in folded for word in listed if has_no_blanks(word))


def _forms(sentence: str) -> list[str]:
    """Return the words of a sentence, and their parts beside an apostrophe."""
    whole = words(sentence)
    # Of "don't" and "l'eau", a single letter is not a word.
    parts = [part for word in whole for part in _APOSTROPHE.split(word) if len(part) > 1]
    return [*whole, *parts]


def _stems(forms: Sequence[str], language: str | None) -> set[str]:
    stemmer = _stemmer(language or "en")
    return set(stemmer.stemWords(forms)) if stemmer else set(forms)


@lru_cache
def _stemmer(language: str) -> Any:
    """Return the stemmer of a language, or None if there is none."""
    name = _STEMMERS.get(language)
    # Earlier versions of Snowball have fewer stemmers.
    return snowballstemmer.stemmer(name) if name in snowballstemmer.algorithms() else None
