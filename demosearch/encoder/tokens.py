"""Tokenizing prompts, with less work than tokenizing every prompt whole and the same token ids.

A search encodes the same sentences under many demonstrations. The tokens of the sentences under the
plain prompt are cached, and the tokens of a demonstration are put in front of them, if this is certain
to equal tokenizing the whole prompt.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from demosearch.errors import UserError
from demosearch.prompt import Pooling, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Size of the cache in prompts; a search requires a few thousand.
CACHE_SIZE = 100_000
# Number of texts on which spliced tokens are compared with those of the whole prompt.
PROBES = 4


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt's token ids, and which of them are pooled.

    Attributes:
        ids: the token ids, including the model's beginning token.
        pooled: number of consecutive tokens whose states are averaged.
        behind: number of tokens after the pooled ones.
    """

    ids: list[int]
    pooled: int = 1
    behind: int = 0

    @property
    def needed(self) -> int:
        """Number of tokens at the end of the prompt, from the first pooled token on."""
        return self.pooled + self.behind


class PromptTokenizer:
    """Tokenizes prompts with the model's beginning token and shortens texts that are too long.

    Args:
        tokenizer: the model's tokenizer.
        max_tokens: the maximum number of tokens of a prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._beginning = beginning_tokens(tokenizer)
        self._controls = control_tokens(tokenizer)
        # In tokenizers other than byte-pair encoding the text before a boundary can change the tokens
        # behind it.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._can_splice = backend is not None and type(backend.model).__name__ == "BPE"
        self._cache: dict[tuple[str, ...], list[int]] = {}

    def __call__(self, texts: Sequence[str], prompt: Prompt) -> list[Tokens]:
        """Return the tokens of prepared texts under a prompt.

        A text that is too long for the model is cut; the template around it stays whole. Control
        tokens in a text are broken up.

        Raises:
            UserError: the prompt alone is too long for the model.
        """
        texts = [without_control_tokens(text, self._controls) for text in texts]
        rows = self._tokens(texts, prompt)
        long = [index for index, row in enumerate(rows) if len(row.ids) > self._max_tokens]
        if long:
            logger.warning(
                "%d of %d texts are longer than the model's maximum of %d tokens and were shortened",
                len(long),
                len(texts),
                self._max_tokens,
            )
        for index in long:
            short = self._shortened(texts[index], prompt.parts)
            rows[index] = self._tokens([short], prompt)[0]
        return rows

    def length(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt without a text."""
        return len(self._ids(["".join(prompt.parts)])[0])

    def _tokens(self, texts: Sequence[str], prompt: Prompt) -> list[Tokens]:
        if prompt.template.pooling is Pooling.MEAN:
            rows = self._with_spans(texts, prompt.parts)
        else:
            rows = [Tokens(ids) for ids in self._spliced(texts, prompt)]
        return [row if row.ids else Tokens([self._placeholder]) for row in rows]

    @property
    def _placeholder(self) -> int:
        """The token of an empty prompt: without text, template and beginning token."""
        candidates = (self._tokenizer.eos_token_id, self._tokenizer.pad_token_id)
        return next((int(token) for token in candidates if token is not None), 0)

    def _spliced(self, texts: Sequence[str], prompt: Prompt) -> list[list[int]]:
        plain = prompt.with_demonstrations()
        if not prompt.demonstrations:
            return self._cached(texts, plain.parts)
        whole = prompt.parts
        fixed = self._ids([plain.head])[0][:-1]
        rows = self._cached(texts, plain.parts) if self._can_splice and len(fixed) > 1 else []
        # Behind a token boundary inside the template's head, byte pairs merge as they do under the
        # plain prompt, independently of the text before the boundary. So rows that keep the tokens of
        # the head can be spliced there. The last token of the head may have merged with the text and
        # is not counted.
        fitting = [index for index, row in enumerate(rows) if row[: len(fixed)] == fixed]
        probes = [texts[index] for index in islice(fitting, PROBES)]
        joints = {
            _joint(full, rows[index])
            for full, index in zip(
                self._ids([text.join(whole) for text in probes]), fitting, strict=False
            )
        }
        if len(joints) != 1 or (joint := joints.pop()) is None or joint[1] > len(fixed) - 1:
            return self._ids([text.join(whole) for text in texts])
        front, cut = list(joint[0]), joint[1]
        spliced = [front + row[cut:] for row in rows]
        unfit = sorted(set(range(len(texts))) - set(fitting))
        for index, row in zip(
            unfit, self._ids([texts[index].join(whole) for index in unfit]), strict=True
        ):
            spliced[index] = row
        return spliced

    def _cached(self, texts: Sequence[str], parts: list[str]) -> list[list[int]]:
        """Return the ids of prompts; only those that are not cached are tokenized."""
        prompts = [text.join(parts) for text in texts]
        keys = [(*parts, text) for text in texts]
        if len(texts) > CACHE_SIZE:
            return self._ids(prompts)
        new = [index for index, key in enumerate(keys) if key not in self._cache]
        if len(self._cache) + len(new) > CACHE_SIZE:
            self._cache.clear()
            new = list(range(len(keys)))
        for index, ids in zip(new, self._ids([prompts[index] for index in new]), strict=True):
            self._cache[keys[index]] = ids
        return [self._cache[key] for key in keys]

    def _with_spans(self, texts: Sequence[str], parts: list[str]) -> list[Tokens]:
        """Return the ids; the tokens of the last copy of each text are the pooled ones."""
        prompts = [text.join(parts) for text in texts]
        encoded = self._tokenizer(
            prompts, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        if "offset_mapping" not in encoded:
            raise UserError(
                "a template that averages over the text's tokens requires a fast tokenizer"
                " (tokenizer.json) but this model has a slow one; use another template"
            )
        rows = []
        for text, prompt, ids, offsets in zip(
            texts, prompts, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            stop = len(prompt) - len(parts[-1])
            start = stop - len(text)
            inside = [
                index
                for index, (first, last) in enumerate(offsets)
                if first < stop and last > start
            ]
            all_ids = self._beginning + ids
            if text and inside:
                behind = len(ids) - 1 - inside[-1]
                rows.append(Tokens(all_ids, inside[-1] - inside[0] + 1, behind))
            else:
                # An empty text has no tokens; the last token of the prompt is pooled instead.
                rows.append(Tokens(all_ids))
        return rows

    def _shortened(self, text: str, parts: list[str]) -> str:
        """Return the longest beginning of the text that fits, cut between tokens."""
        empty = self._ids(["".join(parts)])[0]
        room = self._max_tokens - len(empty)
        if room < 0:
            raise UserError(
                f"the prompt without any text must have at most {self._max_tokens} tokens but got"
                f" {len(empty)}; use fewer or shorter demonstrations"
            )
        alone = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if "offset_mapping" not in alone:
            # A slow tokenizer does not say where its tokens end.
            keep = bisect_right(
                range(len(text) + 1),
                self._max_tokens,
                key=lambda length: len(self._ids([text[:length].join(parts)])[0]),
            )
            return text[: max(0, keep - 1)]
        ends = [end for _, end in alone["offset_mapping"]]
        # Tokens may merge with those of the template, so that slightly more than the room may fit.
        for keep in range(min(len(ends), room // (len(parts) - 1) + 2), 0, -1):
            short = text[: ends[keep - 1]]
            if len(self._ids([short.join(parts)])[0]) <= self._max_tokens:
                return short
        return ""

    def _ids(self, prompts: Sequence[str]) -> list[list[int]]:
        if not prompts:
            return []
        ids = self._tokenizer(list(prompts), add_special_tokens=False, verbose=False)["input_ids"]
        return [self._beginning + row for row in ids]


def beginning_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that a tokenizer adds before every text: `[bos]` for OPT and LLaMA, or none."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return list(full[:start])
    return []


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of whole prompts: the beginning tokens and the prompt, without an end token.

    The prompt's last token is the last one, also if the tokenizer appends a token to every text, as
    Qwen3-Embedding's does. All parts of this package make token ids in this way.

    Args:
        tokenizer: the model's tokenizer.
        prompts: any number of rendered prompts.
    """
    if not prompts:
        return []
    beginning = beginning_tokens(tokenizer)
    ids = tokenizer(list(prompts), add_special_tokens=False, verbose=False)["input_ids"]
    return [beginning + row for row in ids]


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the strings that a tokenizer reads as control tokens, e.g. `</s>`, longest first."""
    added = tokenizer.added_tokens_decoder.values()
    special = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    return sorted(
        (token for token in special if len(token) > 1), key=lambda token: (-len(token), token)
    )


def without_control_tokens(text: str, tokens: Sequence[str]) -> str:
    """Return a text in which control tokens are broken up by a space, so that they are plain text.

    Otherwise a text could end its sentence or begin another turn of a chat.

    >>> without_control_tokens("Stop </s> here.", ["</s>"])
    'Stop < /s> here.'
    """
    for token in tokens:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _joint(full: list[int], plain: list[int]) -> tuple[tuple[int, ...], int] | None:
    """Return the tokens before the longest common suffix, and the index in `plain` where it begins."""
    common = _common(reversed(full), reversed(plain))
    if common == 0:
        return None
    return tuple(full[: len(full) - common]), len(plain) - common


def _common(first: Iterable[int], second: Iterable[int]) -> int:
    count = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        count += 1
    return count
