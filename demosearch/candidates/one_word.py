"""Constrained decoding: a language model can generate one word in the script of a sentence, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import regex
import torch
from transformers import LogitsProcessor

from demosearch._common.scripts import main_scripts, scripts
from demosearch._common.words import WORD

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A word rarely has more tokens; a longer one is truncated.
WORD_TOKENS = 8
# A letter that is rare in the tokenizer's training data has up to four tokens, one for each byte.
MOST_WORD_TOKENS = 32

_LETTERS = regex.compile(r"\p{L}+")
_LETTERS_AND_HYPHENS = regex.compile(r"[\p{L}-]+")
# Also combining marks, joiners that are not drawn, apostrophes, and bytes that are only part of a letter.
_STARTING = regex.compile(r"[\p{L}\uFFFD][\p{L}\p{M}\u200C\u200D\uFFFD]*")
_CONTINUING = regex.compile(r"[-\p{L}\p{M}\u200C\u200D\uFFFD'’\u05f3\u05f4\u0f0b]+")
_UNDECODED = "\ufffd"


class _Sentence(NamedTuple):
    """What decides which tokens are allowed for a sentence.

    Attributes:
        scripts: the scripts of the sentence; empty allows all.
        ascii: whether it has ASCII letters only, so that letters and hyphens are enough for a word.
    """

    scripts: frozenset[str]
    ascii: bool

    @classmethod
    def of(cls, sentence: str) -> _Sentence:
        return cls(main_scripts(sentence), sentence.isascii())


class _Token(NamedTuple):
    """An ordinary token that can be part of a word."""

    id: int
    text: str
    scripts: frozenset[str]


class OneWord(LogitsProcessor):  # type: ignore[misc]
    """Allows the letters of a sentence's script and then the closing quote, and no other tokens.

    Combining marks, inner hyphens and apostrophes count as letters. For a sentence in ASCII, the word
    consists of letters and hyphens.

    Args:
        tokenizer: the tokenizer of the model.

    Attributes:
        closing: ids of the tokens that start with the closing quote.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        special = set(tokenizer.all_special_ids)
        ordinary = [(token, text) for token, text in enumerate(texts) if token not in special]
        self.closing = [token for token, text in ordinary if text.startswith('"')]
        self._tokens = [
            _Token(token, text, scripts(text))
            for token, text in ordinary
            if _CONTINUING.fullmatch(text)
        ]
        self._allowed: dict[tuple[_Sentence, bool], torch.Tensor] = {}
        self._sentences: list[_Sentence] = []
        self._begin = 0

    def start(self, sentences: Sequence[str], begin: int) -> int:
        """Prepare for a batch, and return the maximum number of tokens to generate.

        Args:
            sentences: the sentences of the batch, in order.
            begin: length of the prompts in tokens.
        """
        self._sentences = [_Sentence.of(sentence) for sentence in sentences]
        self._begin = begin
        in_ascii = all(sentence.ascii for sentence in self._sentences)
        return WORD_TOKENS if in_ascii else MOST_WORD_TOKENS

    def words(self, output: torch.Tensor) -> list[str | None]:
        """Return the generated words; None where there is none.

        Args:
            output: token ids, with the prompt; shape (sentences of the batch, tokens).
        """
        answers: list[str | None] = []
        for sentence, row in zip(self._sentences, output[:, self._begin :].tolist(), strict=True):
            tokens = row[:WORD_TOKENS] if sentence.ascii else row
            text = self._tokenizer.decode(tokens, skip_special_tokens=True)
            answers.append(
                text.partition('"')[0].strip() or None if sentence.ascii else _complete_word(text)
            )
        return answers

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores; those of tokens that are not allowed are minus infinity."""
        starts = input_ids.shape[1] == self._begin
        masked = torch.full_like(scores, float("-inf"))
        for row, sentence in enumerate(self._sentences):
            allowed = self._allowed_tokens(sentence, starts).to(scores.device)
            masked[row, allowed] = scores[row, allowed]
        return masked

    def _allowed_tokens(self, sentence: _Sentence, starts: bool) -> torch.Tensor:
        """Return the ids of the tokens that may start or continue the word of a sentence."""
        if (sentence, starts) not in self._allowed:
            if sentence.ascii:
                pattern = _LETTERS if starts else _LETTERS_AND_HYPHENS
            else:
                pattern = _STARTING if starts else _CONTINUING
            tokens = [
                token.id
                for token in self._tokens
                if (token.scripts <= sentence.scripts or not sentence.scripts)
                and pattern.fullmatch(token.text)
            ]
            if not starts:
                tokens += self.closing
            self._allowed[sentence, starts] = torch.tensor(tokens, dtype=torch.long)
        return self._allowed[sentence, starts]


def _complete_word(text: str) -> str | None:
    """Return the word at the beginning of a text; None if there is none, or its end is missing.

    Bytes can also make a punctuation mark, which ends the word.

    >>> _complete_word('図書館"')
    '図書館'
    >>> _complete_word("図書\ufffd") is None
    True
    """
    match = WORD.match(text)
    if match is None or text[match.end() :][:1] in ("", _UNDECODED):
        return None
    return str(match[0])
