"""How prompts go through a model is chosen when it is loaded."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    LlamaConfig,
    MambaConfig,
    MptConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
)

from demosearch.encoder import route
from demosearch.encoder.encoder import Encoder
from demosearch.encoder.forward import UNLIMITED
from demosearch.encoder.route import find_forward
from demosearch.encoder.twin import randomize
from demosearch.errors import UserError
from tests.encoder.families import PROMPT, TEXTS, alone, encoder_of

LLAMA = {
    "vocab_size": 200, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
# The settings of Phi-4-mini, whose positions switch behind 4096 tokens.
PHI_4_MINI = Phi3Config(
    **{**LLAMA, "hidden_size": 384, "num_attention_heads": 3, "num_key_value_heads": 1},
    max_position_embeddings=131072,
    original_max_position_embeddings=4096,
    sliding_window=262144,
    partial_rotary_factor=0.75,
    rope_parameters={
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0] * 48,
        "long_factor": [1 + 0.5 * pair for pair in range(48)],
    },
)
MAMBA = MambaConfig(vocab_size=200, hidden_size=16, state_size=4, num_hidden_layers=2)


def built(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(config)
    return model.eval()


def test_the_families_of_these_tests_are_packed(family: str, tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny(family)), precision="fp32", device="cpu")
    assert encoder._forward.longest_packed == UNLIMITED


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (BertConfig(vocab_size=200, hidden_size=48, num_attention_heads=4), "tokens that follow"),
        (T5Config(vocab_size=200, d_model=48), "an encoder and a decoder"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_a_model_that_is_not_a_decoder_is_refused(config: PreTrainedConfig, reason: str) -> None:
    message = f"models of type '{config.model_type}' are not supported: their .*{reason}|{reason}"
    with pytest.raises(UserError, match=message):
        find_forward(built(config))


def test_prompts_that_cross_a_switching_point_are_plain() -> None:
    assert find_forward(built(PHI_4_MINI)).longest_packed == 4095
    assert find_forward(built(LlamaConfig(**LLAMA))).longest_packed == UNLIMITED


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 2.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        {
            "rope_type": "llama3", "factor": 4.0, "original_max_position_embeddings": 16,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        },
    ],
    ids=lambda rope: rope["rope_type"],
)  # fmt: skip
def test_scaled_positions_equal_a_plain_forward_pass(rope: dict[str, Any]) -> None:
    parameters = {"rope_theta": 10000.0, **rope}
    model = built(LlamaConfig(**LLAMA, max_position_embeddings=64, rope_parameters=parameters))
    randomize(model)
    # Dynamic frequencies depend on the longest row so far, so each text gets a model of its own.
    texts = [*TEXTS, [10 + number for number in range(90)]]
    truth = [alone(copy.deepcopy(model), text[:64]) for text in texts]
    encoder = encoder_of(model)
    words = [" ".join(f"[{number}]" for number in text) for text in texts]
    for layer, states in enumerate(encoder.encode_layers(words, PROMPT)):
        np.testing.assert_allclose(states, [states[layer] for states in truth], atol=1e-4)


def test_the_way_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "demosearch"):
        encoder = encoder_of(built(MAMBA))
        encoder.encode(["[10] [11]", "[12]"], PROMPT)
        find_forward(built(PHI_4_MINI))
        find_forward(built(LlamaConfig(**LLAMA)))
    assert [record.getMessage() for record in caplog.records] == [
        "models of type 'mamba' are encoded without packing and prefix cache",
        "models of type 'phi3': prompts of more than 4095 tokens are encoded without packing and"
        " prefix cache",
    ]


def test_a_model_without_a_twin_is_encoded_plain(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    monkeypatch.setattr(route, "tiny_twin", lambda _: None)
    plain = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu", token_budget=100)
    assert plain._forward.longest_packed == 0
    prompt = PROMPT
    texts = [f"Sentence number {number}" + " and more" * (number % 3) for number in range(20)]
    for left, right in zip(
        plain.encode_layers(texts, prompt), packed.encode_layers(texts, prompt), strict=True
    ):
        np.testing.assert_allclose(left, right, atol=1e-4)


@pytest.mark.parametrize("config", [LlamaConfig(**LLAMA), MAMBA], ids=lambda c: c.model_type)
def test_a_model_keeps_its_attention_and_can_be_pickled(config: PreTrainedConfig) -> None:
    model = built(config)
    ids = torch.tensor([[10, 11, 12]])
    before = model.config._attn_implementation
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state
        encoder = encoder_of(model)
        encoder.encode_layers(["[10] [11]", "[10] [11] [12]"], PROMPT)
        assert model.config._attn_implementation == before
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, expected)
    pickle.dumps(encoder)


def test_the_seed_of_the_caller_is_kept() -> None:
    model = built(LlamaConfig(**LLAMA))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    route._verdicts.clear()
    find_forward(model)
    assert torch.equal(torch.rand(1), expected)


def test_a_text_is_shortened_to_the_context_of_mpt() -> None:
    config = MptConfig(vocab_size=200, d_model=16, n_heads=2, n_layers=2, max_seq_len=30)
    encoder = encoder_of(built(config))
    words = [f"[{10 + number}]" for number in range(40)]
    states = encoder.encode([" ".join(words), " ".join(words[:30])], PROMPT)
    np.testing.assert_array_equal(states[0], states[1])
