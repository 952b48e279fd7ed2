"""GGUF files are converted to the models that they were written from, or refused."""

from __future__ import annotations

import hashlib
import math
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from transformers import AutoModelForCausalLM, AutoTokenizer

from demosearch import Encoder, Prompt
from demosearch.errors import UserError
from demosearch.models.known import resolve
from demosearch.models.loading import load
from tests.gguf_files import FAMILIES, save_tiny, write_gguf

TEXTS = [
    "A man plays a guitar.",
    "",
    "'Quote' first",
    "Stocks fell 3.5% on Monday in 1987",
    "  two",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEMOSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return save_tiny("llama", tmp_path / "llama")


def states(model: Any, ids: list[int]) -> torch.Tensor:
    """Return the states of all layers (layers + 1, tokens, width) in a plain forward pass."""
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    return torch.cat(output.hidden_states)


def assert_equal(file: Path, model: Any, tokenizer: Any) -> None:
    """Assert that a file gives the tokens, the states and the predictions of a model."""
    loaded = load(resolve(str(file)), precision="fp32", device="cpu", head=True)
    for text in TEXTS:
        prompt = Prompt().render(text)
        ids = tokenizer(prompt)["input_ids"]
        assert loaded.tokenizer(prompt)["input_ids"] == ids
        torch.testing.assert_close(
            states(loaded.model, ids), states(model, ids), rtol=1e-4, atol=1e-4
        )
        with torch.inference_mode():
            logits = [each(input_ids=torch.tensor([ids])).logits for each in (loaded.model, model)]
        torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_gives_the_states_of_the_model_it_was_written_from(
    family: str, tmp_path: Path
) -> None:
    folder = save_tiny(family, tmp_path / "model")
    file = write_gguf(folder, tmp_path / "model.gguf", family)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert_equal(file, model, AutoTokenizer.from_pretrained(folder))


def test_a_sentencepiece_vocabulary_gives_the_same_tokens(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model", sentencepiece=True)
    file = write_gguf(folder, tmp_path / "model.gguf", "llama")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert_equal(file, model, AutoTokenizer.from_pretrained(folder))


def dequantized(weights: np.ndarray) -> np.ndarray:
    """Return what Q8_0 keeps of weights: 8 bits each, and a float16 scale for each 32 in a row."""
    blocks = weights.reshape(-1, 32)
    scales = np.abs(blocks).max(1, keepdims=True) / 127
    rounded = np.round(blocks / np.where(scales == 0, 1, scales))
    return (rounded * scales.astype(np.float16).astype(np.float32)).reshape(weights.shape)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_quantized_file_gives_the_states_of_its_dequantized_weights(
    family: str, tmp_path: Path
) -> None:
    folder = save_tiny(family, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for part in model.parameters():
            if part.dim() > 1:
                part.copy_(torch.from_numpy(dequantized(part.numpy(force=True))))
    # Quantizing these weights changes them no further.
    model.save_pretrained(folder)
    kind = GGMLQuantizationType.Q8_0
    file = write_gguf(folder, tmp_path / "q8.gguf", family, kind=kind, file_type=7)
    assert_equal(file, model, AutoTokenizer.from_pretrained(folder))
    loaded = load(resolve(str(file)), precision="fp32", device="cpu")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert loaded.record.model_dump() == {
        "name": str(file),
        "source": str(file),
        "revision": f"sha256:{sha256}",
        "precision": "fp32",
        "quantization": "Q8_0",
        "parameters": sum(part.numel() for part in model.base_model.parameters()),
    }


def test_an_encoder_reads_a_file_and_converts_it_once(
    llama: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(llama, tmp_path / "my model.gguf", "llama")
    encoder = Encoder.load(str(file), precision="fp32", device="cpu")
    expected = Encoder.load(str(llama), precision="fp32", device="cpu").encode(TEXTS, Prompt())
    np.testing.assert_allclose(encoder.encode(TEXTS, Prompt()), expected, rtol=1e-4, atol=1e-4)
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    assert folder.name == f"my-model-{encoder.record.revision[7:19]}-float32"
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) & 0o044 == 0o044

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr("demosearch.models.conversion._convert", fail)
    # The same file at another path, and from a folder that holds another file of this name.
    copy = tmp_path / "other" / "copy.gguf"
    copy.parent.mkdir()
    shutil.copy(file, copy)
    again = Encoder.load(str(copy), precision="fp32", device="cpu")
    assert again.record.revision == encoder.record.revision


def test_a_file_of_the_same_name_in_the_working_folder_is_not_read(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(llama, tmp_path / "model.gguf", "llama")
    elsewhere = tmp_path / "elsewhere"
    other = save_tiny("llama", elsewhere / "llama", num_hidden_layers=2)
    write_gguf(other, elsewhere / "model.gguf", "llama")
    monkeypatch.chdir(elsewhere)
    assert Encoder.load(str(file), precision="fp32", device="cpu").layers == 3
    assert Encoder.load("model.gguf", precision="fp32", device="cpu").layers == 2


def test_a_file_that_changes_is_converted_again(llama: Path, tmp_path: Path) -> None:
    file = write_gguf(llama, tmp_path / "model.gguf", "llama")
    first = load(resolve(str(file)), precision="fp32", device="cpu").record.revision
    write_gguf(save_tiny("qwen2", tmp_path / "qwen2"), file, "qwen2")
    loaded = load(resolve(str(file)), precision="fp32", device="cpu")
    assert loaded.model.config.model_type == "qwen2"
    assert loaded.record.revision != first


# The positions of each family, as transformers and as llama.cpp write them.
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def llama3_factors(width: int = 16, base: float = 5000.0) -> np.ndarray:
    """Return the factors that llama.cpp's converter writes (its `generate_extra_tensors`)."""
    factors = []
    for index in range(0, width, 2):
        wavelength = 2 * math.pi * base ** (index / width)
        if wavelength < 8192 / 4:
            factors.append(1.0)
        elif wavelength > 8192:
            factors.append(32.0)
        else:
            smooth = (8192 / wavelength - 1) / 3
            factors.append(1 / ((1 - smooth) / 32 + smooth))
    assert len(set(factors)) > 2
    return np.array(factors, dtype=np.float32)


def test_the_positions_of_llama_3_are_scaled(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model", rope_parameters=LLAMA3)
    tensors = {"rope_freqs.weight": llama3_factors()}
    file = write_gguf(folder, tmp_path / "model.gguf", "llama", tensors=tensors)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert_equal(file, model, AutoTokenizer.from_pretrained(folder))
    plain = AutoModelForCausalLM.from_pretrained(save_tiny("llama", tmp_path / "plain"))
    ids = list(range(5, 45))
    assert not torch.allclose(states(model, ids), states(plain, ids), atol=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_linear_scaling_of_positions_is_kept(family: str, tmp_path: Path) -> None:
    linear = {"rope_type": "linear", "factor": 8.0}
    parameters: dict[str, Any] = {**linear, "rope_theta": 5000.0}
    if family == "gemma3":
        # As in Gemma 3 4B: only layers without a window.
        parameters = {
            "full_attention": {**linear, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }
    folder = save_tiny(family, tmp_path / "model", rope_parameters=parameters)
    settings = {f"{family}.rope.scaling.type": "linear", f"{family}.rope.scaling.factor": 8.0}
    file = write_gguf(folder, tmp_path / "model.gguf", family, settings=settings)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert_equal(file, model, AutoTokenizer.from_pretrained(folder))


@pytest.mark.parametrize(("beginning", "end"), [(False, False), (True, True), (False, True)])
@pytest.mark.parametrize("sentencepiece", [True, False])
def test_beginning_and_end_tokens_are_those_of_the_file(
    beginning: bool, end: bool, sentencepiece: bool, tmp_path: Path
) -> None:
    folder = save_tiny("llama", tmp_path / "model", sentencepiece=sentencepiece)
    settings = {f"tokenizer.ggml.add_{n}_token": v for n, v in (("bos", beginning), ("eos", end))}
    file = write_gguf(folder, tmp_path / "model.gguf", "llama", settings=settings)
    tokenizer = load(resolve(str(file)), precision="fp32", device="cpu").tokenizer
    ids = AutoTokenizer.from_pretrained(folder)("A cat sleeps.", add_special_tokens=False)
    expected = [*([1] if beginning else []), *ids["input_ids"], *([2] if end else [])]
    assert tokenizer("A cat sleeps.")["input_ids"] == expected


@pytest.mark.parametrize(
    ("family", "settings", "tensors", "message"),
    [
        ("llama", {"general.architecture": "granite"}, {}, r"family 'granite', which transformers"),
        ("llama", {"general.architecture": "t5"}, {}, "'t5', which has an encoder and a decoder"),
        ("llama", {"split.count": 3}, {}, r"one of 3 parts; join them .*llama-gguf-split"),
        ("llama", {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, {},
         r"setting llama\.rope\.scaling\.type is yarn"),
        ("llama", {"llama.logit_scale": 0.5}, {}, r"setting llama\.logit_scale is 0\.5"),
        ("llama", {"llama.attention.causal": False}, {}, r"attention\.causal is False"),
        ("llama", {"llama.attention.sliding_window": 12}, {}, r"sliding_window is 12"),
        ("gemma3", {"gemma3.attention.sliding_window_pattern": 5}, {}, "pattern is 5"),
        ("gemma3", {"gemma3.attention.key_length": 128}, {}, "(key|value)_length is"),
        ("phi3", {"phi3.rope.dimension_count": 12}, {}, r"rope\.dimension_count is 12"),
        ("qwen3", {"qwen3.attention.key_length": 64}, {}, r"attention\.key_length is 64"),
        ("llama", {}, {"blk.1.ffn_up.weight": None}, r"no weights for \S+ \(1 missing"),
        ("llama", {}, {"blk.1.attn_q.bias": np.ones(64)}, "number of weights is"),
        ("llama", {}, {"rope_freqs.weight": np.full(8, 3.0)}, "another rule than LLaMA 3.1's"),
        ("llama", {}, {"output_norm.weight": np.ones(32)}, "sizes of its weights must be"),
        ("llama", {"tokenizer.ggml.model": "rwkv"}, {}, "cannot be read: .*rwkv"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_converted_exactly_is_refused(
    family: str, settings: dict[str, Any], tensors: dict[str, Any], message: str, tmp_path: Path,
    cache: Path,
) -> None:  # fmt: skip
    folder = save_tiny(family, tmp_path / "model")
    file = write_gguf(folder, tmp_path / "m.gguf", family, settings=settings, tensors=tensors)
    with pytest.raises(UserError, match=message) as error:
        load(resolve(str(file)), precision="fp32", device="cpu")
    assert str(file) in str(error.value)
    assert not [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.parametrize(("split", "warned"), [("gpt-2", False), ("smollm", False), ("tiny", True)])
def test_an_unknown_rule_for_splitting_texts_is_warned_of(
    split: str, warned: bool, llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"tokenizer.ggml.pre": split}
    file = write_gguf(llama, tmp_path / "model.gguf", "llama", settings=settings)
    load(resolve(str(file)), precision="fp32", device="cpu")
    assert ("splits texts by the rule 'tiny'" in caplog.text) == warned
