"""The encoder against a plain transformers forward of one sentence at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from demosearch.demonstration import Demonstration
from demosearch.encoder import Encoder, batches, shared_prefix
from demosearch.errors import UserError
from demosearch.prompt import Prompt
from tests.tiny import CONTEXT

TOLERANCE = 1e-4
ONE = Demonstration(sentence="A jockey riding a horse.", word="Equestrian")
TWO = Demonstration(sentence="meat from a deer.", word="Venison")
PROMPTS = {
    "none": Prompt(),
    "one": Prompt(demonstrations=(ONE,)),
    "two": Prompt(demonstrations=(ONE, TWO)),
    "early layer": Prompt(demonstrations=(ONE,), layer=1),
    "embeddings": Prompt(layer=0),
}
TEXTS = [
    "A cat sleeps on the mat.",
    "",
    "Dogs",
    "'Quoted' at the start",
    "...dots first, and a question?",
    "🙂 emoji and ünïcödé",
    "A much longer sentence that goes on for a while, with many words in it and then some more.",
    "A cat sleeps on the mat",
    "<s> </s> <pad>",
]


def plain(folder: Path, prompt: Prompt, text: str) -> np.ndarray:
    """Return the state a plain forward of the one rendered prompt gives."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = tokenizer(prompt.render(text), return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        output = model(**inputs, output_hidden_states=True)
    layer = -1 if prompt.layer is None else prompt.layer
    return output.hidden_states[layer][0, -1].numpy()


@pytest.fixture
def encoder(family: str, tiny: Callable[[str], Path]) -> Encoder:
    return Encoder.load(str(tiny(family)), precision="fp32", device="cpu")


@pytest.mark.parametrize("kind", PROMPTS)
def test_equals_a_plain_forward_of_each_sentence(
    encoder: Encoder, family: str, tiny: Callable[[str], Path], kind: str
) -> None:
    prompt = PROMPTS[kind]
    states = encoder.encode(TEXTS, prompt)
    expected = np.stack([plain(tiny(family), prompt, text) for text in TEXTS])
    assert states.dtype == np.float32
    np.testing.assert_allclose(states, expected, atol=TOLERANCE)


def test_is_the_same_alone_and_in_any_batch(encoder: Encoder) -> None:
    prompt = PROMPTS["one"]
    together = encoder.encode(TEXTS, prompt)
    alone = np.concatenate([encoder.encode([text], prompt) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
    encoder.token_budget = 7
    np.testing.assert_allclose(encoder.encode(TEXTS, prompt), alone, atol=TOLERANCE)


def test_order_and_repetition_are_kept(encoder: Encoder) -> None:
    states = encoder.encode(["Dogs", "A cat.", "Dogs.", "A cat"], Prompt())
    np.testing.assert_array_equal(states[0], states[2])
    np.testing.assert_array_equal(states[1], states[3])
    assert not np.allclose(states[0], states[1], atol=0.01)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=8))
def test_any_text_equals_a_plain_forward(tiny: Callable[[str], Path], texts: list[str]) -> None:
    prompt = PROMPTS["one"]
    states = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu").encode(texts, prompt)
    expected = np.stack([plain(tiny("llama"), prompt, text) for text in texts])
    np.testing.assert_allclose(states, expected, atol=TOLERANCE)


def test_long_text_is_cut_in_the_text_and_counted(
    tiny: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder.load(str(tiny("opt")), precision="fp32", device="cpu")
    prompt = PROMPTS["one"]
    text = "A very long story about horses and riders. " * 40
    with caplog.at_level(logging.WARNING):
        state = encoder.encode([text, "Dogs"], prompt)[0]
    assert "1 of 2 texts are longer than the model's 160 tokens" in caplog.text
    tokenizer = AutoTokenizer.from_pretrained(tiny("opt"))
    # The longest beginning of the text, ending with one of its words' tokens, that fits.
    prepared = prompt.prepare(text)
    offsets = tokenizer(prepared, return_offsets_mapping=True).offset_mapping
    fitting = [
        end
        for _, end in offsets
        if len(tokenizer(prompt.head + prepared[:end] + prompt.tail).input_ids) <= CONTEXT
    ]
    longest = max(fitting)
    model = AutoModel.from_pretrained(tiny("opt"), dtype=torch.float32).eval()
    inputs = tokenizer(
        prompt.head + prepared[:longest] + prompt.tail,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    with torch.inference_mode():
        expected = model(**inputs).last_hidden_state[0, -1].numpy()
    np.testing.assert_allclose(state, expected, atol=TOLERANCE)


def test_prompt_that_leaves_no_room_is_an_error(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    story = Demonstration(sentence="A very long story. " * 60, word="Long")
    with pytest.raises(UserError, match=r"without any text has .* tokens, the model takes 160"):
        encoder.encode(["Dogs"], Prompt(demonstrations=(story,)))


def test_no_texts_give_no_rows(tiny: Callable[[str], Path]) -> None:
    opt = Encoder.load(str(tiny("opt-350m")), precision="fp32", device="cpu")
    assert opt.encode([], Prompt()).shape == (0, 24)
    assert opt.encode([], Prompt(layer=1)).shape == (0, 48)
    assert opt.encode(["a"], Prompt()).shape == (1, 24)
    assert opt.encode(["a"], Prompt(layer=1)).shape == (1, 48)


def test_progress_counts_every_text(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu", token_budget=20)
    steps: list[int] = []
    encoder.encode([*TEXTS, *TEXTS], Prompt(), advance=steps.append)
    assert sum(steps) == 2 * len(TEXTS)
    assert len(steps) > 2


def test_layers_are_counted_as_in_hidden_states(encoder: Encoder) -> None:
    assert encoder.resolve_layer(None) == encoder.layers == 3
    assert encoder.resolve_layer(-1) == 3
    assert encoder.resolve_layer(-2) == 2
    with pytest.raises(UserError, match=r"layer 4 is outside 0\.\.3"):
        encoder.resolve_layer(4)


def test_the_shared_prefix_is_computed_once(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    tokens = 0

    def count(_: torch.nn.Module, __: tuple[object, ...], options: dict[str, torch.Tensor]) -> None:
        nonlocal tokens
        tokens += options["input_ids"].numel()

    encoder.model.register_forward_pre_hook(count, with_kwargs=True)
    texts = [f"Sentence number {number}" for number in range(30)]
    prompt = PROMPTS["two"]
    encoder.encode(texts, prompt)
    ids = [encoder.tokenizer(prompt.render(text)).input_ids for text in texts]
    shared = len(encoder.tokenizer(prompt.head + "Sentence number").input_ids)
    assert tokens <= sum(map(len, ids)) - (len(ids) - 1) * (shared - 2)


def test_shared_prefix_weighs_length_against_rows() -> None:
    assert shared_prefix([[1, 2, 3, 4], [1, 2, 3, 5], [1, 9]]) == [1, 2, 3]
    assert shared_prefix([[1, 2, 3], [1, 5], [1, 6], [1, 7], [1, 2, 8]]) == [1]
    assert shared_prefix([[1, 2], [3, 4]]) == []
    assert shared_prefix([[1, 2, 3]]) == []
    assert shared_prefix([[1, 2], [1, 2]]) == [1]


def test_batches_hold_whole_rows_within_the_budget() -> None:
    from demosearch.encoder import _Row

    rows = [_Row(place, [0] * length) for place, length in enumerate([3, 9, 1, 4, 30])]
    found = [[len(row.tokens) for row in batch] for batch in batches(rows, 10)]
    assert found == [[30], [9], [4, 3, 1]]
