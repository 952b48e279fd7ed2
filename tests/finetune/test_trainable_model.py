from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from demosearch import Encoder
from demosearch.candidates.local import LocalLabeler
from demosearch.errors import UserError
from demosearch.finetune.trainable_model import build_model
from demosearch.models.known import Precision
from demosearch.models.options import LoadOptions
from demosearch.prompt import Prompt
from tests.examples import JOCKEY
from tests.finetune.small import SETTINGS
from tests.tiny import appending, with_slow_tokenizer, without_special_tokens


def check_training_embeddings(folder: Path, prompt: Prompt, texts: list[str]) -> None:
    """Compare the embeddings that are trained with those of the encoder."""
    model = build_model(str(folder), Precision.FP32, "cpu", prompt, SETTINGS, LoadOptions())
    found = model.encode([prompt.render(text) for text in texts], batch_size=len(texts))
    expected = Encoder.load(str(folder), precision="fp32", device="cpu").encode(texts, prompt)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_training_embeddings_equal_the_encoders(tiny: Callable[[str], Path], family: str) -> None:
    texts = ["Short", "Somewhat longer than the one before", "A cat"]
    check_training_embeddings(tiny(family), Prompt(demonstrations=(JOCKEY,)), texts)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "nf4"])
def test_adapter_is_trained_in_float32(tiny: Callable[[str], Path], precision: str) -> None:
    model = build_model(
        str(tiny("opt")), Precision(precision), "cpu", Prompt(), SETTINGS, LoadOptions()
    )
    trained = [each for each in model.parameters() if each.requires_grad]
    assert trained
    assert {each.dtype for each in trained} == {torch.float32}


@pytest.mark.parametrize("beginning", ["", "<s> "])
def test_the_prompts_last_token_is_trained_if_the_tokenizer_appends_one(
    tiny: Callable[[str], Path], tmp_path: Path, beginning: str
) -> None:
    folder = appending(tiny("llama"), tmp_path / "model", beginning)
    texts = ["Short", "Somewhat longer than the first"]
    check_training_embeddings(folder, Prompt(demonstrations=(JOCKEY,)), texts)


def test_a_tokenizer_without_padding_and_end_token_pads_with_another_one(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = with_slow_tokenizer(tiny("llama"), tmp_path / "model")
    check_training_embeddings(folder, Prompt(), ["Short", "Somewhat longer"])


def test_a_tokenizer_without_special_tokens_encodes_and_labels_but_does_not_train(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = without_special_tokens(tiny("llama"), tmp_path / "model")
    encoder = Encoder.load(str(folder), precision="fp32", device="cpu")
    assert np.isfinite(encoder.encode(["Short", "", "Longer text"], Prompt())).all()
    assert len(LocalLabeler(str(folder), device="cpu").label(["A cat", "Two dogs run."])) == 2
    with pytest.raises(UserError, match="must have a special token for padding but has none"):
        build_model(str(folder), Precision.FP32, "cpu", Prompt(), SETTINGS, LoadOptions())
