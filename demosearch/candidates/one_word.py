"""Constrained decoding: a language model can generate one word in the script of a sentence, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import regex
import torch
from transformers import LogitsProcessor

from demosearch._common.scripts import main_scripts, scripts
from demosearch._common.words import WORD, is_word
from demosearch.errors import NotFiniteError

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
    consists of letters and hyphens, and is truncated after 8 tokens. Another word that is not closed, or
    is too long for its script, ends where the closing quote was most probable.

    Args:
        tokenizer: the tokenizer of the model.
        precision: of the weights, for messages.

    Attributes:
        closing: ids of the tokens that start with the closing quote.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, precision: str = "") -> None:
        self._tokenizer = tokenizer
        self._precision = precision
        self._texts: Sequence[str] = []
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
        # Log-probabilities of the closing quote at each step, shape (sentences of the batch,).
        self._closed: list[torch.Tensor] = []

    def start(self, sentences: Sequence[str], begin: int) -> int:
        """Prepare for a batch, and return the maximum number of tokens to generate.

        Args:
            sentences: the sentences of the batch, in order.
            begin: length of the prompts in tokens.
        """
        self._texts = sentences
        self._sentences = [_Sentence.of(sentence) for sentence in sentences]
        self._begin = begin
        self._closed = []
        in_ascii = all(sentence.ascii for sentence in self._sentences)
        return WORD_TOKENS if in_ascii else MOST_WORD_TOKENS

    def words(self, output: torch.Tensor) -> list[str | None]:
        """Return the generated words; None where there is none.

        Args:
            output: token ids, with the prompt; shape (sentences of the batch, tokens).
        """
        answers: list[str | None] = []
        for row, tokens in enumerate(output[:, self._begin :].tolist()):
            if self._sentences[row].ascii:
                answers.append(self._text(tokens[:WORD_TOKENS]).partition('"')[0].strip() or None)
            else:
                word = _complete_word(self._text(tokens))
                fits = word is not None and self._fits(row, word)
                answers.append(word if fits else self._cut(row, tokens))
        return answers

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def _cut(self, row: int, tokens: list[int]) -> str | None:
        """Return the beginning of an answer that is a word and that the model would most likely close."""
        closed = [float(step[row]) for step in self._closed]
        words = [
            (closed[count], text)
            for count in range(1, min(len(tokens), len(closed)))
            if self._fits(row, text := self._text(tokens[:count]).strip())
        ]
        return max(words, key=lambda word: word[0])[1] if words else None

    def _fits(self, row: int, word: str) -> bool:
        """Whether a text is a word in the scripts of a sentence; bytes can form other letters."""
        expected = self._sentences[row].scripts
        return is_word(word) and (scripts(word) <= expected or not expected)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores; those of tokens that are not allowed are minus infinity.

        Raises:
            NotFiniteError: a score is not a number or plus infinity, so that no token is the best one.
        """
        self._check(input_ids, scores)
        starts = input_ids.shape[1] == self._begin
        closing = scores.float().log_softmax(-1)[:, self.closing]
        self._closed.append(closing.logsumexp(-1).cpu())
        masked = torch.full_like(scores, float("-inf"))
        for row, sentence in enumerate(self._sentences):
            allowed = self._allowed_tokens(sentence, starts).to(scores.device)
            masked[row, allowed] = scores[row, allowed]
        return masked

    def _check(self, input_ids: torch.Tensor, scores: torch.Tensor) -> None:
        # Minus infinity is the score of tokens that a model excludes. A sentence whose word is closed is
        # continued with padding, whose scores are not used.
        closing = torch.tensor(self.closing, device=input_ids.device)
        closed = torch.isin(input_ids[:, self._begin :], closing).any(dim=1)
        wrong = (scores.isnan() | scores.isposinf()).any(dim=1) & ~closed.to(scores.device)
        if wrong.any():
            text = self._texts[int(wrong.nonzero()[0])]
            raise NotFiniteError(text, "the last layer", self._precision, what="the next token")

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
