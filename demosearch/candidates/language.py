"""Whether a sentence is in the wanted language, and a labeler's answer in the sentence's language."""

from __future__ import annotations

import unicodedata
from typing import Any

from demosearch._common.extras import missing_extra
from demosearch._common.scripts import main_scripts, scripts
from demosearch._common.words import fold, without_points
from demosearch.errors import UserError

# Smallest probability of another language at which a sentence is rejected: the language of a short sentence
# is often uncertain.
MIN_LANGUAGE_PROBABILITY = 0.95
# Or the probability of the wanted language below which it is rejected. Several languages that are similar
# to one another, such as Hindi and Nepali, can share the rest.
MIN_WANTED_PROBABILITY = 0.001
# py3langid's label of texts in no language.
_NO_LANGUAGE = "zxx"


class LanguageCheck:
    """Whether a sentence is certainly in another language.

    Args:
        language: code of the wanted language, as py3langid names it (ISO 639-1 where there is one).

    Raises:
        UserError: py3langid is not installed, or does not know the language.
    """

    def __init__(self, language: str) -> None:
        try:
            from py3langid import langid
        except ImportError:
            raise missing_extra("the language check", "quality") from None
        self._language = language
        self._model: Any = langid.LanguageIdentifier.from_model_file(
            langid.MODEL_FILE, norm_probs=True
        )
        known = sorted({*self._model.labels} - {_NO_LANGUAGE})
        if language not in known:
            raise UserError(f"the language must be one of {', '.join(known)} but got '{language}'")

    def __call__(self, sentence: str) -> bool:
        """Whether a sentence is certainly in another language."""
        composed = unicodedata.normalize("NFC", sentence)
        # Modern Hebrew with points is taken for ancient Hebrew.
        return all(map(self._is_other, dict.fromkeys((composed, without_points(composed)))))

    def _is_other(self, text: str) -> bool:
        ranked: list[tuple[str, float]] = self._model.rank(text)
        language, probability = ranked[0]
        wanted = dict(ranked)[self._language]
        return wanted < MIN_WANTED_PROBABILITY or (
            language != self._language and probability > MIN_LANGUAGE_PROBABILITY
        )


def is_in_script_of(word: str, sentence: str) -> bool:
    """Whether a word can belong to the language of a sentence: whether it is written in its script.

    The scripts of a sentence are those of most of its letters, so that a loan word or a name does not
    count (`main_scripts`). A word is accepted if

    - all its letters are in these scripts. A Japanese sentence has kana, so that a word in kana, in
      Chinese characters or in both is accepted; a Chinese sentence has no kana. Letters that all
      languages use do not count.
    - or if it has a letter in these scripts, and its other letters are Latin ("Tシャツ"),
    - or if it occurs in the sentence ("DVD" in a Thai sentence),
    - or if the sentence has no letters.

    Languages with the same script, such as English and French, are not distinguished.

    >>> is_in_script_of("Riding", "A jockey rides a horse.")
    True
    >>> is_in_script_of("骑马", "A jockey rides a horse.")
    False
    >>> is_in_script_of("りんご", "赤い林檎を食べる。"), is_in_script_of("りんご", "我吃苹果。")
    (True, False)
    """
    expected = main_scripts(sentence)
    own = scripts(word)
    if own <= expected or not expected:
        return True
    if own & expected and own - expected == {"Latin"}:
        return True
    return fold(word) in fold(sentence)
