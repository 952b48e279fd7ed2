"""The local labeler: a language model on this machine generates the word. It requires no key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from demosearch.candidates.labeling import EXAMPLES, Label
from demosearch.encoder.tokens import prompt_ids
from demosearch.models.known import resolve
from demosearch.models.loading import LoadedModel, load
from demosearch.models.memory import fits_on_each
from demosearch.models.options import LoadOptions
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 16
# A word rarely has more tokens; a longer one is truncated.
WORD_TOKENS = 8


class LocalLabeler:
    """Greedy decoding of one word after a prompt with three examples.

    Decoding is constrained: the first token must start a word, and the next ones must continue it
    until the model closes the quote. So the answer is always one word.

    Args:
        model: name, hub id or folder. The model is loaded with its language-model head.
        options: how the model is loaded. Of several devices only the first one is used if the
            model fits on it.
        **keywords: fields of `LoadOptions`.
    """

    def __init__(self, model: str, options: LoadOptions | None = None, **keywords: Any) -> None:
        self.model = model
        self.source = f"local:{model}"
        self._source = resolve(model)
        self._options = LoadOptions.of(options, **keywords)
        self._loaded: LoadedModel | None = None
        self._one_word: OneWord | None = None

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[Label | None]:
        """Return the label of each sentence; None where the model generates no word."""
        loaded = self.loaded
        words: list[Label | None] = []
        for start in range(0, len(sentences), BATCH):
            batch = sentences[start : start + BATCH]
            words += self._words(loaded, batch)
            if advance:
                advance(len(batch))
        return words

    @property
    def loaded(self) -> LoadedModel:
        """The model with its head. It is loaded on first use."""
        if self._loaded is None:
            options = self._options
            devices = options.device_names
            if devices and fits_on_each(self._source.name, devices[:1], options.precision):
                options = options.on(devices[0])
            self._loaded = load(self._source, options, head=True)
        return self._loaded

    def _words(self, loaded: LoadedModel, sentences: Sequence[str]) -> list[Label | None]:
        prompt = Prompt(demonstrations=EXAMPLES)
        tokenizer = loaded.tokenizer
        rows = prompt_ids(tokenizer, [prompt.render(sentence) for sentence in sentences])
        begin = max(map(len, rows))
        # Padding is masked, so any token serves where the tokenizer has none for it.
        padding = next(
            (
                token
                for token in (tokenizer.pad_token_id, tokenizer.eos_token_id)
                if token is not None
            ),
            0,
        )
        device = loaded.model.device
        ids = torch.tensor([[padding] * (begin - len(row)) + row for row in rows], device=device)
        mask = torch.tensor(
            [[0] * (begin - len(row)) + [1] * len(row) for row in rows], device=device
        )
        if self._one_word is None:
            self._one_word = OneWord(tokenizer)
        self._one_word.begin = begin
        with torch.inference_mode():
            output = loaded.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=WORD_TOKENS,
                do_sample=False,
                pad_token_id=padding,
                eos_token_id=self._one_word.closing,
                logits_processor=LogitsProcessorList([self._one_word]),
            )
        texts = tokenizer.batch_decode(output[:, begin:], skip_special_tokens=True)
        words = [text.partition('"')[0].strip() for text in texts]
        return [Label(word) if word else None for word in words]


class OneWord(LogitsProcessor):  # type: ignore[misc]
    """Allows letters (with inner hyphens) and then the closing quote, and no other tokens.

    Attributes:
        begin: length of the prompt in tokens.
        closing: ids of the tokens that start with the closing quote.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.begin = 0
        texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        special = set(tokenizer.all_special_ids)
        ordinary = [(token, text) for token, text in enumerate(texts) if token not in special]
        self.closing = [token for token, text in ordinary if text.startswith('"')]
        self._starting = [token for token, text in ordinary if text.isalpha()]
        inner = [token for token, text in ordinary if text and text.replace("-", "a").isalpha()]
        self._continuing = [*inner, *self.closing]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores; those of tokens that are not allowed are minus infinity."""
        allowed = self._starting if input_ids.shape[1] == self.begin else self._continuing
        masked = torch.full_like(scores, float("-inf"))
        masked[:, allowed] = scores[:, allowed]
        return masked
