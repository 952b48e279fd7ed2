"""Training and exported folders, which pad, against the encoder, for types that are not packed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, AutoModel

from demosearch import Encoder, Prompt
from demosearch.encoder.padding import find_padding_side
from demosearch.encoder.twin import POINT
from demosearch.errors import UserError
from demosearch.export import export_sentence_transformer
from demosearch.finetune import finetune
from demosearch.finetune.trainable_model import build_model
from demosearch.models.known import Precision
from demosearch.models.options import LoadOptions
from tests.encoder.families import SETTINGS as FAMILIES
from tests.encoder.families import build
from tests.examples import JOCKEY, demonstrations_file
from tests.finetune.small import SETTINGS, TRIPLETS
from tests.tiny import SMALL_LLAMA, save_model

_SMALL = {**SMALL_LLAMA, "max_position_embeddings": 160}
# Tiny models that the encoder packs for short prompts only, or not at all.
TYPES: dict[str, dict[str, Any]] = {
    "bloom": {"n_layer": 3, "n_head": 4},
    "falcon": {"alibi": True, "num_attention_heads": 4},
    "mamba": {"state_size": 8},
    "mamba2": {"head_dim": 8, "num_heads": 12, "state_size": 8, "n_groups": 2, "chunk_size": 16},
    "falcon_mamba": {"state_size": 8},
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 16,
        "head_dim": 8,
    },
    "mpt": {"d_model": 48, "n_heads": 4, "n_layers": 3, "max_seq_len": 160},
    "diffllama": {},
    "codegen": {
        "n_embd": 48,
        "n_layer": 3,
        "num_attention_heads": 4,
        "rotary_dim": 8,
        "n_positions": 160,
    },
    "phimoe": {"num_local_experts": 4, "sliding_window": 16},
    "rwkv": {"attention_hidden_size": 48},
}
TEXTS = [
    "Short",
    "Somewhat longer than the one before, and longer than any window of the tiny models",
    "A cat",
    "Is it raining?",
]
PROMPTS = [Prompt(), Prompt(demonstrations=(JOCKEY,), layer=2)]


def saved(kind: str, folder: Path) -> str:
    config = AutoConfig.for_model(kind, **{**_SMALL, **TYPES[kind]})
    save_model(config, folder, kind=AutoModel)
    return str(folder)


@pytest.mark.parametrize("prompt", PROMPTS, ids=["plain", "layer"])
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_training_and_export_equal_the_encoder_or_are_refused(
    kind: str, prompt: Prompt, tmp_path: Path
) -> None:
    folder = saved(kind, tmp_path / "model")
    encoder, refusal = or_refusal(lambda: Encoder.load(folder, precision="fp32", device="cpu"))
    if encoder is None:
        assert "not supported" in refusal
        with pytest.raises(UserError) as caught:
            finetune(folder, TRIPLETS, tmp_path / "out", prompt, settings=SETTINGS, device="cpu")
        assert str(caught.value) == refusal
        return
    expected = encoder.encode(TEXTS, prompt)
    for action in (
        lambda: training_states(folder, prompt),
        lambda: exported_states(encoder, prompt, tmp_path),
    ):
        states, refusal = or_refusal(action)
        if states is None:
            assert "\n" not in refusal
            assert "cannot be fine-tuned" in refusal
            # PEFT has no LoRA for them, or for their routers.
            assert "mamba" in kind or kind == "phimoe"
        else:
            np.testing.assert_allclose(states, expected, rtol=1e-3, atol=1e-3)


def or_refusal(action: Callable[[], Any]) -> tuple[Any, str]:
    """Return the result of an action, or None and why it is refused."""
    try:
        return action(), ""
    except UserError as error:
        return None, str(error)


def training_states(folder: str, prompt: Prompt) -> np.ndarray:
    model = build_model(folder, Precision.FP32, "cpu", prompt, SETTINGS, LoadOptions())
    texts = [prompt.render(text) for text in TEXTS]
    return np.asarray(model.encode(texts, batch_size=len(texts)))


def exported_states(encoder: Encoder, prompt: Prompt, folder: Path) -> np.ndarray:
    file = demonstrations_file(encoder.record)
    value = file.model_dump()
    value["prompts"] = [prompt.record(encoder.resolve_layer(prompt.layer)).model_dump()]
    type(file).model_validate(value).write(folder / "best.json")
    export_sentence_transformer(folder / "best.json", folder / "exported")
    return np.asarray(SentenceTransformer(str(folder / "exported"), device="cpu").encode(TEXTS))


# Layers of the first five attend to the best keys only, and DOTS.3 and Falcon-H1 have no tiny twin.
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "kind",
    [
        "deepseek_v32",
        "axk2",
        "glm_moe_dsa",
        "doge",
        "dots3_note_text",
        "falcon_h1",
        "llama",
        "mamba",
    ],
)
def test_a_side_on_which_padding_changes_states_is_not_chosen_in_silence(
    kind: str, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = build(kind, FAMILIES.get(kind, {}))
    with caplog.at_level(logging.WARNING, "demosearch"):
        assert find_padding_side(model, (side,), "exported") == side
    warned = f"in batches with prompts of more than {POINT - 1} tokens, models of type '{kind}'"
    is_silent = warned not in caplog.text
    assert is_silent == (kind in ("llama", "mamba"))
    short, long = largest_change(model, side, (3, 9, 6)), largest_change(model, side, (30, 45, 60))
    assert short < 1e-4
    assert long < 1e-4 or not is_silent
    if kind in ("deepseek_v32", "axk2", "glm_moe_dsa", "doge", "dots3_note_text"):
        assert long > 1e-2
    may = "may have other states" in caplog.text
    assert may == (kind in ("dots3_note_text", "falcon_h1"))


def largest_change(model: Any, side: str, lengths: tuple[int, ...]) -> float:
    """Return the largest relative change of a last state by padding, from plain forward passes."""
    numbers = np.random.default_rng(3)
    width = max(lengths)
    rows = [numbers.integers(10, 90, length).tolist() for length in lengths]
    ids = torch.full((len(rows), width), 5)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        own = slice(width - len(row), width) if side == "left" else slice(len(row))
        ids[index, own], mask[index, own] = torch.tensor(row), 1
    changes = []
    with torch.inference_mode():
        padded = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        for index, row in enumerate(rows):
            alone = model(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state[0, -1]
            state = padded[index, -1 if side == "left" else len(row) - 1]
            changes.append(float((state - alone).norm() / alone.norm()))
    return max(changes)


# PEFT renames their weights, as those of old checkpoints, when it loads an adapter.
@pytest.mark.parametrize("kind", ["laguna", "inkling2_text"])
def test_a_type_whose_adapters_peft_does_not_load_is_refused_before_the_training(
    kind: str, tmp_path: Path
) -> None:
    model = build(kind, FAMILIES.get(kind, {}))
    save_model(model.config, tmp_path, kind=AutoModel)
    settings = SETTINGS.model_copy(update={"lora_dropout": 0.0})
    with pytest.raises(
        UserError, match="cannot be fine-tuned, because PEFT does not load their ad"
    ):
        build_model(str(tmp_path), Precision.FP32, "cpu", Prompt(), settings, LoadOptions())
