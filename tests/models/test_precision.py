from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit

from demosearch import Encoder, Prompt
from demosearch.errors import UserError
from demosearch.models import precision as precision_module
from demosearch.models.known import resolve
from demosearch.models.loading import load
from demosearch.models.precision import (
    Precision,
    dtype_of,
    limit_packing,
    quantization_config,
)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16, Precision.FP16])
def test_weights_have_the_requested_precision(
    tiny: Callable[[str], Path], precision: Precision
) -> None:
    loaded = load(resolve(str(tiny("llama"))), precision=precision, device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {
        {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    }
    assert loaded.record.precision == precision


def test_quantized_weights_are_multiplied_in_float32_without_bfloat16_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert dtype_of(Precision.NF4, "cpu") is torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert dtype_of(Precision.NF4, "cpu") is torch.bfloat16


@pytest.mark.parametrize("precision", ["int8", "nf4"])
@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_quantized_weights_give_similar_embeddings(
    tiny: Callable[[str], Path], precision: str, kind: str
) -> None:
    texts = ["A cat sleeps.", "Dogs bark at night, all of them.", ""]
    exact = Encoder.load(str(tiny(kind)), precision="fp32", device="cpu").encode(texts, Prompt())
    encoder = Encoder.load(str(tiny(kind)), precision=precision, device="cpu")
    kinds = {type(module).__name__ for module in encoder.model.modules()}
    assert {"int8": "Linear8bitLt", "nf4": "Linear4bit"}[precision] in kinds
    assert encoder.record.precision == precision
    states = encoder.encode(texts, Prompt())
    cosines = (
        (states * exact).sum(1) / np.linalg.norm(states, axis=1) / np.linalg.norm(exact, axis=1)
    )
    assert cosines.min() > {"int8": 0.98, "nf4": 0.8}[precision]
    assert not np.allclose(states, exact, atol=1e-4)


@pytest.mark.parametrize("trained", [False, True])
def test_weights_are_packed_only_where_that_is_correct(
    monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    # As on a CPU with bfloat16 instructions.
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    model = torch.nn.Sequential(Linear4bit(64, 96), Linear4bit(96, 64), Linear4bit(64, 48))
    limit_packing(model, trained=trained)
    assert [part.support_avx512bf16_for_cpu for part in model] == [not trained, False, False]


def test_nf4_uses_double_quantization_and_sets_its_compute_type() -> None:
    wanted = quantization_config(Precision.NF4, torch.bfloat16)
    assert wanted is not None
    assert wanted.bnb_4bit_quant_type == "nf4"
    assert wanted.bnb_4bit_use_double_quant
    assert wanted.bnb_4bit_compute_dtype is torch.bfloat16


def test_missing_bitsandbytes_is_an_error_that_names_the_extra(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'demosearch\[quantization\]'"):
        load(resolve(str(tiny("llama"))), precision=Precision.NF4, device="cpu")
