"""A prompt that is longer than the window of Gemma 3 equals plain transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, Gemma3TextConfig

from demosearch import Encoder, Prompt
from demosearch.demonstration import Demonstration
from tests.tiny import SMALL_LLAMA, save_model

# The window of Gemma 3 270M and 1B, and their pattern: five layers with a window and one without.
WINDOW = 512
SENTENCE = (
    "A man plays a guitar while the rain falls on the old town and a dog sleeps near the door. "
)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma")
    sizes = {**SMALL_LLAMA, "num_hidden_layers": 7, "max_position_embeddings": 4096}
    config = Gemma3TextConfig(**sizes, head_dim=8, query_pre_attn_scalar=8, sliding_window=WINDOW)
    assert config.layer_types.count("full_attention") == 1
    save_model(config, folder)
    return folder


@pytest.mark.parametrize("demonstrations", [0, 1, 30])
def test_a_prompt_longer_than_the_window_equals_plain_transformers(
    gemma: Path, demonstrations: int
) -> None:
    encoder = Encoder.load(str(gemma), precision="fp32", device="cpu")
    plain = AutoModel.from_pretrained(gemma, dtype=torch.float32)
    # The shared prefix is shorter or longer than the window, and so are the texts.
    shown = Demonstration(sentence=SENTENCE.strip(), word="Music", source="test")
    prompt = Prompt(demonstrations=(shown,) * demonstrations)
    texts = ["Short.", SENTENCE * 30, "", SENTENCE * 2, SENTENCE * 45]
    lengths = []
    states = encoder.encode(texts, prompt)
    for text, state in zip(texts, states, strict=True):
        inputs = encoder.tokenizer(prompt.render(text), return_tensors="pt")
        lengths.append(inputs.input_ids.shape[1])
        with torch.inference_mode():
            expected = plain(**inputs).last_hidden_state[0, -1].numpy()
        np.testing.assert_allclose(state, expected, rtol=1e-3, atol=1e-4)
    assert max(lengths) > 2 * WINDOW
    assert min(lengths) > WINDOW or demonstrations < 30
