"""Prompts in, token ids out: the same ids as tokenizing every prompt whole, with less work.

In a search the same sentences come back under one demonstration after the other. Their tokens under
the plain prompt are kept, and the tokens of a demonstration are put in front of them, where that is
certain to give what tokenizing the whole prompt gives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from demosearch.errors import UserError
from demosearch.prompt import Pooling, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Prompts kept at most; a search needs a few thousand.
REMEMBERED = 100_000
# Texts on which putting tokens together is compared with tokenizing the whole prompt.
PROBES = 4


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt's token ids, and which of them are pooled.

    Attributes:
        ids: the ids, the model's own beginning included.
        pooled: how many neighbouring tokens' states are averaged.
        behind: how many tokens come after those.
    """

    ids: list[int]
    pooled: int = 1
    behind: int = 0

    @property
    def needed(self) -> int:
        """Tokens at the end of the prompt without which it cannot be pooled."""
        return self.pooled + self.behind


class PromptTokenizer:
    """Tokenizes prompts, each with the model's own beginning and fitted to its length.

    Args:
        tokenizer: the model's.
        max_tokens: the longest prompt the model takes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._beginning = _beginning_tokens(tokenizer)
        self._controls = control_tokens(tokenizer)
        # What stands in front of a boundary can change what is behind it in other kinds of models.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._can_splice = backend is not None and type(backend.model).__name__ == "BPE"
        self._remembered: dict[tuple[str, ...], list[int]] = {}

    def __call__(self, texts: Sequence[str], prompt: Prompt) -> list[Tokens]:
        """Return the tokens of prepared texts under a prompt.

        A text that is too long for the model is cut; the template around it stays whole. A control
        token in a text is broken up.

        Raises:
            UserError: the prompt alone is too long for the model.
        """
        texts = [without_control_tokens(text, self._controls) for text in texts]
        found = self._tokens(texts, prompt)
        long = [place for place, tokens in enumerate(found) if len(tokens.ids) > self._max_tokens]
        if long:
            logger.warning(
                "%d of %d texts are longer than the model's %d tokens and were shortened",
                len(long),
                len(texts),
                self._max_tokens,
            )
        for place in long:
            short = self._shortened(texts[place], prompt.parts)
            found[place] = self._tokens([short], prompt)[0]
        return found

    def length(self, prompt: Prompt) -> int:
        """Return how many tokens a prompt has without a text."""
        return len(self._ids(["".join(prompt.parts)])[0])

    def _tokens(self, texts: Sequence[str], prompt: Prompt) -> list[Tokens]:
        if prompt.template.pooling is Pooling.MEAN:
            found = self._with_spans(texts, prompt.parts)
        else:
            found = [Tokens(ids) for ids in self._spliced(texts, prompt)]
        return [tokens if tokens.ids else Tokens([self._nothing]) for tokens in found]

    @property
    def _nothing(self) -> int:
        """The token of a prompt that has none: no text, no template, and no beginning token."""
        known = (self._tokenizer.eos_token_id, self._tokenizer.pad_token_id)
        return next((int(token) for token in known if token is not None), 0)

    def _spliced(self, texts: Sequence[str], prompt: Prompt) -> list[list[int]]:
        plain = prompt.with_demonstrations()
        if not prompt.demonstrations:
            return self._remember(texts, plain.parts)
        whole = prompt.parts
        fixed = self._ids([plain.head])[0][:-1]
        rows = self._remember(texts, plain.parts) if self._can_splice and len(fixed) > 1 else []
        # Behind a token boundary inside the template's head, byte pairs merge as they do under the
        # plain prompt, whatever stands in front; so rows that keep the head's tokens can be put
        # together there. The head's last token may have merged with the text, so it is not counted.
        fitting = [place for place, row in enumerate(rows) if row[: len(fixed)] == fixed]
        probes = [texts[place] for place in islice(fitting, PROBES)]
        joints = {
            _joint(full, rows[place])
            for full, place in zip(
                self._ids([text.join(whole) for text in probes]), fitting, strict=False
            )
        }
        if len(joints) != 1 or (joint := joints.pop()) is None or joint[1] > len(fixed) - 1:
            return self._ids([text.join(whole) for text in texts])
        front, cut = list(joint[0]), joint[1]
        found = [front + row[cut:] for row in rows]
        unfit = sorted(set(range(len(texts))) - set(fitting))
        for place, row in zip(
            unfit, self._ids([texts[place].join(whole) for place in unfit]), strict=True
        ):
            found[place] = row
        return found

    def _remember(self, texts: Sequence[str], parts: list[str]) -> list[list[int]]:
        """Return the ids of prompts, tokenizing only those that are not known."""
        prompts = [text.join(parts) for text in texts]
        keys = [(*parts, text) for text in texts]
        if len(texts) > REMEMBERED:
            return self._ids(prompts)
        new = [place for place, key in enumerate(keys) if key not in self._remembered]
        if len(self._remembered) + len(new) > REMEMBERED:
            self._remembered.clear()
            new = list(range(len(keys)))
        for place, ids in zip(new, self._ids([prompts[place] for place in new]), strict=True):
            self._remembered[keys[place]] = ids
        return [self._remembered[key] for key in keys]

    def _with_spans(self, texts: Sequence[str], parts: list[str]) -> list[Tokens]:
        """Return the ids with the tokens of the last copy of each text as what is pooled."""
        prompts = [text.join(parts) for text in texts]
        encoded = self._tokenizer(
            prompts, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        found = []
        for text, prompt, ids, offsets in zip(
            texts, prompts, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            stop = len(prompt) - len(parts[-1])
            start = stop - len(text)
            inside = [
                place
                for place, (first, last) in enumerate(offsets)
                if first < stop and last > start
            ]
            all_ids = self._beginning + ids
            if text and inside:
                behind = len(ids) - 1 - inside[-1]
                found.append(Tokens(all_ids, inside[-1] - inside[0] + 1, behind))
            else:
                # An empty text has no tokens of its own; the prompt's last one stands for it.
                found.append(Tokens(all_ids))
        return found

    def _shortened(self, text: str, parts: list[str]) -> str:
        """Return so much of the text as fits, cut between its tokens."""
        empty = self._ids(["".join(parts)])[0]
        room = self._max_tokens - len(empty)
        if room < 0:
            raise UserError(
                f"the prompt without any text has {len(empty)} tokens, the model takes"
                f" {self._max_tokens}; use fewer or shorter demonstrations"
            )
        alone = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in alone["offset_mapping"]]
        # Tokens may merge with the template's, so a few more than the room may fit.
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


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the strings that a tokenizer reads as control tokens, such as `</s>`, the longest first."""
    added = tokenizer.added_tokens_decoder.values()
    found = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    return sorted(
        (token for token in found if len(token) > 1), key=lambda token: (-len(token), token)
    )


def without_control_tokens(text: str, tokens: Sequence[str]) -> str:
    """Return a text in which control tokens are broken up by a blank, so that they are text.

    Otherwise a text could end the sentence that it stands in, or begin another's turn.

    >>> without_control_tokens("Stop </s> here.", ["</s>"])
    'Stop < /s> here.'
    """
    for token in tokens:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _joint(full: list[int], plain: list[int]) -> tuple[tuple[int, ...], int] | None:
    """Return the tokens in front of the longest common end, and where it begins in `plain`."""
    common = _common(reversed(full), reversed(plain))
    if common == 0:
        return None
    return tuple(full[: len(full) - common]), len(plain) - common


def _common(first: Iterable[int], second: Iterable[int]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def _beginning_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens the tokenizer puts in front by itself: `[bos]` for OPT and LLaMA, or none."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return list(full[:start])
    return []
