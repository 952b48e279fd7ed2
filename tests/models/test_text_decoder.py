"""Of a multimodal checkpoint the text decoder is used, with the states of the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import (
    AutoModel,
    AutoModelForImageTextToText,
    AutoTokenizer,
    Gemma3nTextConfig,
    PreTrainedConfig,
)

from demosearch import Encoder, Prompt
from demosearch.encoder.token_budget import find_token_budget
from demosearch.errors import UserError
from demosearch.finetune import finetune
from demosearch.models.known import Precision, resolve
from demosearch.models.source import read_config
from demosearch.models.text_decoder import text_decoder
from demosearch.models.weights import weights_bytes
from tests.finetune.small import SETTINGS, TRIPLETS
from tests.tiny import SMALL_LLAMA, save_model

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
QWEN_VISION = {
    "depth": 1,
    "hidden_size": 32,
    "out_hidden_size": 48,
    "num_heads": 2,
    "intermediate_size": 64,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
TEXT = {**SMALL_LLAMA, "head_dim": 8}
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "gemma-3": ("Gemma3Config", {**TEXT, "sliding_window": 16}, VISION),
    "mistral-3": (
        "Mistral3Config",
        {**TEXT, "model_type": "mistral"},
        {**VISION, "model_type": "pixtral"},
    ),
    "qwen2-vl": (
        "Qwen2VLConfig",
        {**SMALL_LLAMA, "rope_parameters": ROPE},
        {"depth": 1, "embed_dim": 32, "hidden_size": 48, "num_heads": 2},
    ),
    "qwen2.5-vl": ("Qwen2_5_VLConfig", {**SMALL_LLAMA, "rope_parameters": ROPE}, QWEN_VISION),
    "qwen3-vl": ("Qwen3VLConfig", TEXT, {**QWEN_VISION, "deepstack_visual_indexes": [0]}),
    "llama-4": (
        "Llama4Config",
        {**TEXT, "intermediate_size_mlp": 96, "num_local_experts": 2},
        {
            **VISION,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
    ),
    "llava": (
        "LlavaConfig",
        {**SMALL_LLAMA, "model_type": "llama"},
        {**VISION, "model_type": "clip_vision_model"},
    ),
}
PALIGEMMA = (
    "PaliGemmaConfig",
    {**TEXT, "model_type": "gemma"},
    {**VISION, "model_type": "siglip_vision_model"},
)


def make(entry: tuple[str, dict[str, Any], dict[str, Any]], folder: Path) -> Path:
    name, text, vision = entry
    config: PreTrainedConfig = getattr(transformers, name)(text_config=text, vision_config=vision)
    save_model(config, folder, kind=AutoModelForImageTextToText)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_states_are_those_of_the_whole_model(tmp_path: Path, name: str) -> None:
    folder = make(MODELS[name], tmp_path)
    encoder = Encoder.load(str(folder), precision="fp32", device="cpu")
    texts = ["A cat sleeps.", "Somebody is riding a horse and sings."]
    found = encoder.encode(texts, Prompt())
    whole = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, row in zip(texts, found, strict=True):
        ids = torch.tensor([tokenizer(Prompt().render(text))["input_ids"]])
        with torch.inference_mode():
            states = whole(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
        np.testing.assert_allclose(row, states.numpy(), atol=1e-5, rtol=1e-4)
    parameters = sum(each.numel() for each in encoder.model.parameters())
    assert encoder.record.parameters == parameters
    assert read_config(resolve(str(folder)))[0].num_hidden_layers == encoder.layers
    assert weights_bytes(resolve(str(folder)), Precision.FP32) > 4 * parameters


def test_a_decoder_that_reads_in_both_directions_is_refused(tmp_path: Path) -> None:
    folder = make(PALIGEMMA, tmp_path)
    with pytest.raises(UserError, match=r"models of type '(pali)?gemma' are not supported"):
        Encoder.load(str(folder), precision="fp32", device="cpu")


def test_a_decoder_with_other_states_is_refused(tmp_path: Path) -> None:
    model: Any = AutoModel.from_pretrained(make(MODELS["llava"], tmp_path))
    assert text_decoder(model) is model.language_model
    plain = model.language_model.forward
    model.forward = lambda **options: plain(**{**options, "input_ids": options["input_ids"] + 1})
    with pytest.raises(UserError, match="'llava' are not supported: their text decoder alone"):
        text_decoder(model)


def test_widths_that_differ_by_layer_have_a_token_budget(tmp_path: Path) -> None:
    config = Gemma3nTextConfig(
        **{**TEXT, "intermediate_size": [96, 64, 96]},
        vocab_size_per_layer_input=600,
        hidden_size_per_layer_input=8,
        laurel_rank=4,
        num_kv_shared_layers=0,
        activation_sparsity_pattern=[0.0] * 3,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
    )
    model = AutoModel.from_config(config)
    assert find_token_budget(model) >= 1


def test_fine_tuning_is_refused(tmp_path: Path) -> None:
    folder = make(MODELS["gemma-3"], tmp_path / "model")
    with pytest.raises(UserError, match=r"is multimodal \(type 'gemma3'\), which cannot be fine-"):
        finetune(str(folder), TRIPLETS, tmp_path / "out", settings=SETTINGS, device="cpu")
