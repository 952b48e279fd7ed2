"""The local labeler: the language model itself says the one word. The way without a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from demosearch.candidates.labeling import EXAMPLES
from demosearch.loading import LoadedModel, load
from demosearch.models import Precision, resolve
from demosearch.prompt import Prompt

BATCH = 16
# One word is rarely more; what is cut off after that is refused as no word.
WORD_TOKENS = 8


class LocalLabeler:
    """Greedy decoding after a prompt with three solved instances, cut at the closing quote.

    Args:
        model: name, hub id or folder; its language-model head is loaded too.
        precision: as for the encoder.
        device: as for the encoder.
    """

    def __init__(
        self, model: str, *, precision: Precision | None = None, device: str | None = None
    ) -> None:
        self.source = f"local:{model}"
        self._source = resolve(model)
        self._precision = precision
        self._device = device
        self._loaded: LoadedModel | None = None

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[str | None]:
        """Return what the model says before it closes the quote; None where it does not close."""
        if self._loaded is None:
            self._loaded = load(
                self._source, precision=self._precision, device=self._device, head=True
            )
        answers: list[str | None] = []
        for start in range(0, len(sentences), BATCH):
            batch = sentences[start : start + BATCH]
            answers += self._answers(self._loaded, batch)
            if advance:
                advance(len(batch))
        return answers

    def _answers(self, loaded: LoadedModel, sentences: Sequence[str]) -> list[str | None]:
        prompt = Prompt(demonstrations=EXAMPLES)
        tokenizer = loaded.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        inputs = tokenizer(
            [prompt.render(sentence) for sentence in sentences], return_tensors="pt", padding=True
        ).to(loaded.model.device)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            output = loaded.model.generate(
                **inputs,
                max_new_tokens=WORD_TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        said = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
        return [text.partition('"')[0] if '"' in text else None for text in said]
