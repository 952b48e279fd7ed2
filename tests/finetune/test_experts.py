"""Models with experts, whose weights are one tensor, are fine-tuned, loaded and merged, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import MixtralConfig, PreTrainedConfig, Qwen3MoeConfig

from demosearch import Encoder, Prompt
from demosearch.errors import UserError
from demosearch.export import export_sentence_transformer
from demosearch.finetune import finetune
from tests.finetune.small import SETTINGS, TRIPLETS
from tests.models.adapters import peft_states
from tests.tiny import SMALL_LLAMA, save_model

EXPERTS = {"num_experts_per_tok": 2}
MODELS = {
    "mixtral": MixtralConfig(**SMALL_LLAMA, num_local_experts=4, **EXPERTS),
    "qwen3-moe": Qwen3MoeConfig(
        **SMALL_LLAMA, head_dim=8, num_experts=4, moe_intermediate_size=32, **EXPERTS
    ),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    config: PreTrainedConfig = MODELS[request.param]
    save_model(config, tmp_path / "model")
    return tmp_path / "model"


def test_dropout_on_experts_is_refused(model: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"lora_dropout": 0.05})
    with pytest.raises(UserError, match=r"lora_dropout must be 0 for .* but got 0\.05"):
        finetune(str(model), TRIPLETS, tmp_path / "out", settings=settings, device="cpu")


def test_a_trained_adapter_gives_pefts_states_and_is_merged(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    finetune(str(model), TRIPLETS, adapter, settings=SETTINGS, device="cpu")
    prompt, texts = Prompt(), ["A cat sleeps.", "Somebody sings."]
    encoder = Encoder.load(str(model), precision="fp32", device="cpu", adapter=adapter)
    found = encoder.encode(texts, prompt)
    rendered = [prompt.render(text) for text in texts]
    expected = peft_states(model, adapter, rendered, head=False)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match=r"cannot be exported next to its base model.*use --merge"):
        export_sentence_transformer(adapter, tmp_path / "beside")
    export_sentence_transformer(adapter, tmp_path / "out", merge=True)
    merged = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(texts)
    np.testing.assert_allclose(merged, found, atol=1e-4, rtol=1e-4)
