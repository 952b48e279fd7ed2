from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from demosearch import Encoder
from demosearch.finetune.student import build_student
from demosearch.models.known import Precision
from demosearch.prompt import Prompt
from tests.examples import JOCKEY
from tests.finetune.small import SETTINGS


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_a_batch_is_trained_on_the_embeddings_that_the_encoder_has(
    tiny: Callable[[str], Path], family: str
) -> None:
    folder, prompt = str(tiny(family)), Prompt(demonstrations=(JOCKEY,))
    student = build_student(folder, Precision.FP32, "cpu", prompt, SETTINGS)
    texts = ["Short", "Somewhat longer than the one before", "A cat"]
    found = student.encode([prompt.render(text) for text in texts], batch_size=3)
    expected = Encoder.load(folder, precision="fp32", device="cpu").encode(texts, prompt)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "nf4"])
def test_the_adapter_is_trained_in_32_bits(tiny: Callable[[str], Path], precision: str) -> None:
    student = build_student(str(tiny("opt")), Precision(precision), "cpu", Prompt(), SETTINGS)
    trained = [each for each in student.parameters() if each.requires_grad]
    assert trained
    assert {each.dtype for each in trained} == {torch.float32}
