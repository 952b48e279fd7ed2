"""The local labeler: the language model itself says the one word. The way without a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from demosearch.candidates.labeling import EXAMPLES, Label
from demosearch.models.known import resolve
from demosearch.models.loading import LoadedModel, load
from demosearch.models.memory import fits_on_each
from demosearch.models.options import LoadOptions
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 16
# One word is rarely more; what has not ended by then is cut.
WORD_TOKENS = 8


class LocalLabeler:
    """Greedy decoding of one word after a prompt with three solved instances.

    The first token has to begin a word, the next ones to go on with it, until the model closes the
    quote: it can say nothing but one word.

    Args:
        model: name, hub id or folder; its language-model head is loaded too.
        options: how it is loaded; of several devices the first one is used if the model fits on it.
        **keywords: fields of `LoadOptions`.
    """

    def __init__(self, model: str, options: LoadOptions | None = None, **keywords: Any) -> None:
        self.source = f"local:{model}"
        self._source = resolve(model)
        self._options = LoadOptions.of(options, **keywords)
        self._loaded: LoadedModel | None = None
        self._one_word: OneWord | None = None

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[Label | None]:
        """Return the words the model says; None where it says none."""
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
        """The model with its head, loaded when it is first asked for."""
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
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        inputs = tokenizer(
            [prompt.render(sentence) for sentence in sentences], return_tensors="pt", padding=True
        ).to(loaded.model.device)
        inputs.pop("token_type_ids", None)
        begin = inputs["input_ids"].shape[1]
        if self._one_word is None:
            self._one_word = OneWord(tokenizer)
        self._one_word.begin = begin
        with torch.inference_mode():
            output = loaded.model.generate(
                **inputs,
                max_new_tokens=WORD_TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=self._one_word.closing,
                logits_processor=LogitsProcessorList([self._one_word]),
            )
        said = tokenizer.batch_decode(output[:, begin:], skip_special_tokens=True)
        return [Label(word) if (word := text.partition('"')[0].strip()) else None for text in said]


class OneWord(LogitsProcessor):  # type: ignore[misc]
    """Lets a model say letters (with hyphens inside), then the closing quote, and nothing else.

    Attributes:
        begin: length of the prompt in tokens.
        closing: tokens that begin with the closing quote.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.begin = 0
        texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        special = set(tokenizer.all_special_ids)
        ordinary = [(token, text) for token, text in enumerate(texts) if token not in special]
        self.closing = [token for token, text in ordinary if text.startswith('"')]
        self._starting = [token for token, text in ordinary if text.isalpha()]
        inner = [token for token, text in ordinary if text and text.replace("-", "a").isalpha()]
        self._going_on = [*inner, *self.closing]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores with all that is not allowed set to minus infinity."""
        allowed = self._starting if input_ids.shape[1] == self.begin else self._going_on
        masked = torch.full_like(scores, float("-inf"))
        masked[:, allowed] = scores[:, allowed]
        return masked
