"""The encoder compared with a plain transformers forward pass of one sentence at a time."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from demosearch.demonstration import Demonstration
from demosearch.encoder.encoder import Encoder
from demosearch.encoder.layers import decoder_layers
from demosearch.errors import UserError
from demosearch.prompt import Pooling, Prompt, Template
from demosearch.templates import TEMPLATES
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
    """Return the state from a plain forward pass of the rendered prompt."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    # Control tokens in a text are read as plain text.
    text = re.sub(r"<(/?s|pad)>", r"< \1>", text)
    inputs = tokenizer(prompt.render(text), return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        output = model(**inputs, output_hidden_states=True)
    layer = -1 if prompt.layer is None else prompt.layer
    return output.hidden_states[layer][0, -1].numpy()


@pytest.fixture
def encoder(family: str, tiny: Callable[[str], Path]) -> Encoder:
    return Encoder.load(str(tiny(family)), precision="fp32", device="cpu")


@pytest.mark.parametrize("kind", PROMPTS)
def test_states_equal_a_plain_forward_pass_of_each_sentence(
    encoder: Encoder, family: str, tiny: Callable[[str], Path], kind: str
) -> None:
    prompt = PROMPTS[kind]
    states = encoder.encode(TEXTS, prompt)
    expected = np.stack([plain(tiny(family), prompt, text) for text in TEXTS])
    assert states.dtype == np.float32
    np.testing.assert_allclose(states, expected, atol=TOLERANCE)


def test_a_state_does_not_depend_on_the_batch(encoder: Encoder) -> None:
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
# At most 20 characters, of up to 4 tokens each: longer ones would be cut to the tiny context.
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=8))
def test_any_text_has_the_state_of_a_plain_forward_pass(
    tiny: Callable[[str], Path], texts: list[str]
) -> None:
    prompt = PROMPTS["one"]
    states = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu").encode(texts, prompt)
    expected = np.stack([plain(tiny("llama"), prompt, text) for text in texts])
    np.testing.assert_allclose(states, expected, atol=TOLERANCE)


def test_a_long_text_is_shortened_and_counted(
    tiny: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder.load(str(tiny("opt")), precision="fp32", device="cpu")
    prompt = PROMPTS["one"]
    text = "A very long story about horses and riders. " * 40
    with caplog.at_level(logging.WARNING):
        state = encoder.encode([text, "Dogs"], prompt)[0]
    assert "1 of 2 texts are longer than the model's maximum of 160 tokens" in caplog.text
    tokenizer = AutoTokenizer.from_pretrained(tiny("opt"))
    # The longest beginning of the text that fits and ends with a token.
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


def test_a_prompt_without_room_for_a_text_is_an_error(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    story = Demonstration(sentence="A very long story. " * 60, word="Long")
    with pytest.raises(
        UserError, match=r"without any text must have at most 160 tokens but got \d+"
    ):
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


def test_layers_are_indices_into_hidden_states(encoder: Encoder) -> None:
    assert encoder.resolve_layer(None) == encoder.layers == 3
    assert encoder.resolve_layer(-1) == 3
    assert encoder.resolve_layer(-2) == 2
    with pytest.raises(UserError, match=r"layer must be from 0 to 3 but got 4"):
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


def test_all_layers_come_from_one_pass(
    encoder: Encoder, family: str, tiny: Callable[[str], Path]
) -> None:
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    last = decoder_layers(encoder.model)[-1]
    hook = last.register_forward_pre_hook(count)
    found = encoder.encode_layers(TEXTS, PROMPTS["one"])
    together = passes
    encoder.encode(TEXTS, PROMPTS["one"])
    hook.remove()
    assert passes == 2 * together
    assert len(found) == encoder.layers + 1
    for layer, states in enumerate(found):
        prompt = Prompt(demonstrations=(ONE,), layer=layer)
        expected = np.stack([plain(tiny(family), prompt, text) for text in TEXTS[:4]])
        np.testing.assert_allclose(states[:4], expected, atol=TOLERANCE)
        np.testing.assert_allclose(states, encoder.encode(TEXTS, prompt), atol=TOLERANCE)


def test_an_early_layer_runs_only_the_layers_it_needs(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    ran: list[int] = []
    for number, layer in enumerate(decoder_layers(encoder.model)):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    # A single text has no shared prefix, whose keys are computed by all layers.
    encoder.encode(["A cat."], Prompt(layer=2))
    assert ran == [0, 1]
    ran.clear()
    encoder.encode(["A cat."], Prompt(layer=0))
    assert ran == []
    encoder.encode(["A cat."], Prompt())
    assert ran == [0, 1, 2]


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATES["echo"],
        Template("bare", "{text}", "", pooling=Pooling.MEAN),
        Template(
            "framed", "{demonstrations}Say {text} once.", "{text}{word}", pooling=Pooling.MEAN
        ),
    ],
    ids=lambda template: template.name,
)
def test_mean_pooling_is_over_the_last_copy_of_the_text(
    encoder: Encoder, family: str, tiny: Callable[[str], Path], template: Template
) -> None:
    texts = ["A cat sleeps on the mat.", "A cat sleeps", "dogs", "'x' and A cat sleeps on the mat."]
    states = encoder.encode(texts, Prompt(template))
    tokenizer = AutoTokenizer.from_pretrained(tiny(family))
    model = AutoModel.from_pretrained(tiny(family), dtype=torch.float32).eval()
    for text, state in zip(texts, states, strict=True):
        prompt = Prompt(template)
        rendered = prompt.render(text)
        prepared = prompt.prepare(text)
        inputs = tokenizer(
            rendered,
            return_tensors="pt",
            return_offsets_mapping=True,
            return_token_type_ids=False,
        )
        offsets = inputs.pop("offset_mapping")[0].tolist()
        start = rendered.rindex(prepared)
        stop = start + len(prepared)
        inside = [index for index, (a, b) in enumerate(offsets) if a < stop and b > start]
        with torch.inference_mode():
            expected = model(**inputs).last_hidden_state[0, inside].mean(0).numpy()
        np.testing.assert_allclose(state, expected, atol=TOLERANCE)


def test_the_mean_of_an_empty_text_is_the_state_of_the_last_token(
    tiny: Callable[[str], Path],
) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    prompt = Prompt(TEMPLATES["echo"])
    np.testing.assert_allclose(
        encoder.encode(["", "A cat"], prompt)[0], plain(tiny("llama"), prompt, ""), atol=TOLERANCE
    )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["gpu", "cpu"],
)
def test_out_of_memory_halves_the_budget_and_loses_no_text(
    tiny: Callable[[str], Path], error: RuntimeError, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu", token_budget=2048)
    texts = [f"Sentence number {number} of some length" for number in range(30)]
    expected = encoder.encode(texts, PROMPTS["one"])

    def fail_above_100(_: object, __: object, options: dict[str, torch.Tensor]) -> None:
        if options["input_ids"].numel() > 100:
            raise error

    encoder.model.register_forward_pre_hook(fail_above_100, with_kwargs=True)
    steps: list[int] = []
    with caplog.at_level(logging.WARNING):
        found = encoder.encode(texts, PROMPTS["one"], advance=steps.append)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert sum(steps) == len(texts)
    assert 50 <= encoder.token_budget <= 100
    assert f"the token budget is now {encoder.token_budget}" in caplog.text


def test_one_text_that_does_not_fit_is_an_error(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    encoder.model.register_forward_pre_hook(fail)
    with pytest.raises(
        UserError, match=r"one text of \d+ tokens does not fit into the memory of cpu"
    ):
        encoder.encode(["A cat."], Prompt())


def test_other_errors_of_a_forward_pass_are_raised(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")

    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    encoder.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        encoder.encode(["A cat."], Prompt())
