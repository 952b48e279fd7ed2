"""Odd values in config.json are refused in one line that names the file and the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from demosearch import Embedder, Encoder, Prompt
from demosearch.errors import UserError
from demosearch.finetune import finetune
from demosearch.models.known import resolve
from demosearch.models.loading import load
from tests.finetune.small import SETTINGS, TRIPLETS
from tests.tiny import SMALL_LLAMA, save_model

ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
# Values of settings, and what the message must contain. The file is named for all of them.
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"hidden_act": "nope"}, "hidden_act must be a known name but got 'nope'"),
    ({"rope_parameters": {**ROPE, "rope_type": "nope"}}, "rope_type must be a known name"),
    ({"hidden_size": "48"}, "Field 'hidden_size' expected int, got str"),
    ({"hidden_size": None}, "Field 'hidden_size' expected int, got NoneType"),
    ({"num_attention_heads": 7}, "not a multiple of the number of attention heads"),
    ({"num_attention_heads": 0}, "ZeroDivisionError"),
    ({"head_dim": 7}, "even rotary dimension"),
    ({"vocab_size": -5}, "negative dimension -5"),
    ({"pad_token_id": 9999}, "Padding_idx must be within num_embeddings"),
    ({"attn_implementation": "nope"}, 'attn_implementation="nope"'),
    ({"dtype": "nope"}, "no attribute 'nope'"),
    ({"rope_parameters": {**ROPE, "rope_theta": "x"}}, "'str' and 'Tensor'"),
    ({"id2label": 7}, "'int' object"),
    ({"num_key_value_heads": 3}, "the sizes in its config.json must be those of its weights"),
    ({"vocab_size": 700}, "the sizes in its config.json must be those of its weights"),
]


def changed(model: Path, folder: Path, settings: dict[str, Any]) -> str:
    shutil.copytree(model, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return str(folder)


@pytest.mark.parametrize(("settings", "message"), FAULTS, ids=lambda value: str(value)[:40])
def test_config_json_and_the_reason_are_named(
    tiny: Callable[[str], Path], tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder = changed(tiny("llama"), tmp_path / "model", settings)
    for action in (
        lambda: Encoder.load(folder, device="cpu"),
        lambda: load(resolve(folder), device="cpu", head=True),
        lambda: finetune(folder, TRIPLETS, tmp_path / "out", settings=SETTINGS, device="cpu"),
    ):
        with pytest.raises(UserError) as error:
            action()
        assert "config.json" in str(error.value)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("layers", [0, -1])
def test_a_model_has_at_least_one_layer(
    tiny: Callable[[str], Path], tmp_path: Path, layers: int
) -> None:
    folder = changed(tiny("llama"), tmp_path / "model", {"num_hidden_layers": layers})
    with pytest.raises(UserError, match=r"num_hidden_layers in config\.json must be at least 1"):
        Encoder.load(folder, device="cpu")


@pytest.mark.parametrize("kind", ["qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text"])
@pytest.mark.parametrize("section", [[2, 1, 1], [16, 24, 24], [2, 1], "x", [2, "a"], [], None])
def test_mrope_sections_are_right_or_refused(tmp_path: Path, kind: str, section: Any) -> None:
    settings = {**SMALL_LLAMA, "rope_parameters": {**ROPE, "mrope_section": [2, 1, 1]}}
    save_model(AutoConfig.for_model(kind, **settings), tmp_path / "model", kind=AutoModel)
    wrong = {"rope_parameters": {**ROPE, "mrope_section": section}}
    folder = changed(tmp_path / "model", tmp_path / "wrong", wrong)
    try:
        encoder = Encoder.load(folder, precision="fp32", device="cpu")
    except UserError as error:
        refusal = str(error)
    else:
        assert_same_as_transformers(encoder, folder)
        return
    assert "with the settings in config.json a forward pass fails" in refusal
    assert section != [2, 1, 1]


BIDIRECTIONAL: list[tuple[str, dict[str, Any]]] = [
    ("gemma3_text", {"use_bidirectional_attention": True}),
    # As EmbeddingGemma.
    (
        "gemma3_text",
        {
            "use_bidirectional_attention": True,
            "sliding_window": 512,
            "num_hidden_layers": 6,
            "layer_types": [*["sliding_attention"] * 5, "full_attention"],
        },
    ),
    ("gemma3_text", {"use_bidirectional_attention": False}),
    ("gemma", {"use_bidirectional_attention": True}),
    ("gemma2", {"use_bidirectional_attention": True}),
    ("llama", {"is_causal": False}),
    ("qwen3", {"is_causal": False}),
    ("qwen3", {"use_bidirectional_attention": True}),
    ("bert", {"is_decoder": True}),
]


@pytest.mark.parametrize(
    ("kind", "settings"),
    BIDIRECTIONAL,
    ids=[f"{kind}-{row}" for row, (kind, _) in enumerate(BIDIRECTIONAL)],
)
def test_bidirectional_attention_is_right_or_refused(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    gemma = {"head_dim": 8, "sliding_window": 12, "query_pre_attn_scalar": 8}
    config = AutoConfig.for_model(kind, **{**SMALL_LLAMA, **gemma, **settings})
    save_model(config, tmp_path / "model", kind=AutoModel)
    try:
        encoder = Encoder.load(str(tmp_path / "model"), precision="fp32", device="cpu")
    except UserError as error:
        refusal = str(error)
    else:
        assert_same_as_transformers(encoder, str(tmp_path / "model"))
        return
    assert f"models of type '{kind}' are not supported" in refusal
    assert "their states depend on the tokens that follow" in refusal
    assert settings.get("use_bidirectional_attention") or settings.get("is_causal") is False


def assert_same_as_transformers(encoder: Encoder, folder: str) -> None:
    texts = ["A cat sleeps.", "Dogs bark at night and all day long, every day of the year", "Rain"]
    prompt = Prompt()
    ours = encoder.encode_layers(texts, prompt)
    np.testing.assert_array_equal(Embedder(encoder, [prompt]).encode(texts), ours[-1])
    model = AutoModel.from_pretrained(folder).eval()
    for row, text in enumerate(texts):
        ids = encoder._tokenize([prompt.prepare(text)], prompt)[0].ids
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        for own, expected in zip(ours, states, strict=True):
            np.testing.assert_allclose(own[row], expected[0, -1].numpy(), rtol=1e-4, atol=1e-5)
