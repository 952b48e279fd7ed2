"""The local labeler: a language model on this machine generates the word. It requires no key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import LogitsProcessorList

from demosearch._common.containers import as_texts
from demosearch.candidates.labeling import EXAMPLES, Label
from demosearch.candidates.one_word import OneWord
from demosearch.encoder.tokens import prompt_ids
from demosearch.models.known import resolve
from demosearch.models.loading import LoadedModel, load
from demosearch.models.memory import fits_on_each
from demosearch.models.options import LoadOptions
from demosearch.prompt import Prompt

BATCH = 16


class LocalLabeler:
    """Greedy decoding of one word after a prompt with three examples.

    Decoding is constrained: the first token must start a word in the script of the sentence, and the
    next ones must continue it until the model closes the quote. So the answer is always one word.

    Args:
        model: name, hub id, folder or GGUF file. The model is loaded with its language-model head.
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
        """Return the label of each sentence; None where the model generates no word.

        Raises:
            NotFiniteError: the scores of the next token are not finite; names the sentence.
        """
        sentences = as_texts(sentences, "sentences")
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
            self._one_word = OneWord(tokenizer, loaded.record.precision)
        most = self._one_word.start(sentences, begin)
        with torch.inference_mode():
            output = loaded.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=padding,
                eos_token_id=self._one_word.closing,
                logits_processor=LogitsProcessorList([self._one_word]),
            )
        return [Label(word) if word else None for word in self._one_word.words(output)]
