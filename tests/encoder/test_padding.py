"""Training and exported folders, which pad, against the encoder, for types that are not packed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, AutoModel

from demosearch import Encoder, Prompt
from demosearch.errors import UserError
from demosearch.export import export_sentence_transformer
from demosearch.finetune import finetune
from demosearch.finetune.trainable_model import build_model
from demosearch.models.known import Precision
from demosearch.models.options import LoadOptions
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
