from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from demosearch import Embedder, Encoder
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.prompt import Prompt
from tests.examples import JOCKEY, demonstrations_file
from tests.fakes import FakeEncoder

TEXTS = ["A cat sleeps.", "Dogs bark at night", "Is it raining?"]


@pytest.fixture
def file(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    record = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu").record
    path = tmp_path / "demonstrations.json"
    demonstrations_file(record, layer=2).write(path)
    return path


def test_a_loaded_file_gives_the_embeddings_of_the_search(
    file: Path, tiny: Callable[[str], Path]
) -> None:
    embedder = Embedder.load(file, device="cpu")
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    expected = encoder.encode(TEXTS, Prompt(demonstrations=(JOCKEY,), layer=2))
    embeddings = embedder.encode(TEXTS)
    assert embeddings.shape == (3, 48)
    assert embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings, expected)


def test_keywords_are_those_of_sentence_transformers(file: Path) -> None:
    embedder = Embedder.load(file, device="cpu")
    plain = embedder.encode(TEXTS)
    np.testing.assert_allclose(embedder.encode(TEXTS[0]), plain[0], atol=1e-4)
    unit = embedder.encode(TEXTS, batch_size=2, show_progress_bar=False, normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        unit * np.linalg.norm(plain, axis=1, keepdims=True), plain, atol=1e-4
    )
    tensor = embedder.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), plain)


def test_several_prompts_are_a_weighted_mean_of_unit_vectors(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    prompts = [Prompt(), Prompt(demonstrations=(JOCKEY,))]
    mean = Embedder(encoder, prompts, [1.0, 3.0]).encode(TEXTS)
    units = [
        states / np.linalg.norm(states, axis=1, keepdims=True)
        for states in (encoder.encode(TEXTS, prompt) for prompt in prompts)
    ]
    np.testing.assert_allclose(mean, (units[0] + 3 * units[1]) / 4, atol=1e-6)


def test_a_file_of_another_model_is_refused_unless_allowed(
    file: Path, tiny: Callable[[str], Path]
) -> None:
    other = str(tiny("qwen3"))
    with pytest.raises(UserError, match="search with this model, or use --allow-other-model"):
        Embedder.load(file, model=other, device="cpu")
    embedder = Embedder.load(file, model=other, device="cpu", allow_other_model=True)
    assert embedder.encode(TEXTS).shape == (3, 48)


def test_other_weights_under_the_same_name_are_refused(
    file: Path, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    record = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu").record
    changed = record.model_copy(update={"revision": "sha256:" + "0" * 64})
    demonstrations_file(changed).write(tmp_path / "changed.json")
    with pytest.raises(UserError, match="made for different weights"):
        Embedder.load(tmp_path / "changed.json", device="cpu")


def test_a_file_is_independent_of_the_known_templates(file: Path, tmp_path: Path) -> None:
    text = (
        file.read_text().replace("means in one word", "says in short").replace("prompteol", "mine")
    )
    (tmp_path / "own.json").write_text(text)
    embedder = Embedder.load(tmp_path / "own.json", device="cpu")
    assert embedder.prompts[0].render("x") == (
        'This sentence : "A jockey riding a horse." says in short:"Equestrian".'
        'This sentence : "x." says in short:"'
    )
    assert embedder.prompts[0].demonstrations == (Demonstration(**JOCKEY.model_dump()),)


def test_a_template_of_several_prompts_gives_their_mean(tiny: Callable[[str], Path]) -> None:
    embedder = Embedder.without_demonstrations(
        str(tiny("llama")), precision="fp32", device="cpu", template="metaeol"
    )
    # Tiny models have a short context, so its limit is lifted; all eight prompts must be averaged.
    embedder.encoder._tokenize._max_tokens = 1 << 30
    embedder.encoder.model.config.max_position_embeddings = 1 << 12
    by_prompt = [embedder.encoder.encode(TEXTS, prompt) for prompt in embedder.prompts]
    assert len(by_prompt) == 8
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in by_prompt]
    np.testing.assert_allclose(embedder.encode(TEXTS), np.mean(unit, axis=0), atol=1e-5)
    assert embedder.describe()["prompts"][0]["template"] == "metaeol-topic"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, float("nan")], "weights must be finite and positive but got"),
        ([1, float("inf")], "weights must be finite and positive but got"),
        ([1, -1], "weights must be finite and positive but got"),
        ([1], "weights must be one number for each of 2 prompts but got 1"),
    ],
)
def test_wrong_weights_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Embedder(FakeEncoder(), [Prompt(), Prompt()], weights)  # type: ignore[arg-type]


def test_zeros_stay_zero_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Zeros(FakeEncoder):
        def encode(self, texts, prompt, *, advance=None):  # type: ignore[no-untyped-def]
            states = super().encode(texts, prompt, advance=advance)
            return states * [[not text.startswith("zero")] for text in texts]

    embedder = Embedder(Zeros(), [Prompt()])  # type: ignore[arg-type]
    texts = ["a 1 2", "zero 1 2", "b 1 2", "zero 1 3"]
    for _ in range(2):
        found = embedder.encode(texts, normalize_embeddings=True)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0, 1, 0], atol=1e-6)
    assert caplog.messages == [
        "2 of 4 embeddings are zero and stay zero, because they have no direction; the first one is in"
        " row 2"
    ]
