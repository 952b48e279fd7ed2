"""A damaged file of a model's folder is refused in one line that names it and says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from demosearch.errors import UserError
from demosearch.finetune import finetune
from demosearch.models.known import resolve
from demosearch.models.loading import load
from demosearch.models.source import read_config
from tests.finetune.small import SETTINGS, TRIPLETS
from tests.models.adapters import ADAPTERS, make_adapter

WEIGHTS = "model.safetensors"
POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c1550b5a0002f74190d6caea8\nsize 12345\n"
)


@pytest.fixture(params=[False, True], ids=["single", "shards"])
def folder(request: pytest.FixtureRequest, tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model's folder, with one file of weights or several."""
    path = tmp_path / "model"
    shutil.copytree(tiny("llama"), path)
    if request.param:
        model = AutoModelForCausalLM.from_pretrained(path)
        (path / WEIGHTS).unlink()
        model.save_pretrained(path, max_shard_size="50KB")
        assert len(list(path.glob("model-*.safetensors"))) > 2
    return path


def weights_of(folder: Path) -> Path:
    return sorted(folder.glob("model*.safetensors"))[-1]


def refusal(folder: Path, tmp_path: Path) -> str:
    messages = []
    for action in (
        lambda: load(resolve(str(folder)), device="cpu"),
        lambda: finetune(str(folder), TRIPLETS, tmp_path / "out", settings=SETTINGS, device="cpu"),
    ):
        with pytest.raises(UserError) as error:
            action()
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    return messages[0]


def test_an_undamaged_folder_is_loaded(folder: Path) -> None:
    load(resolve(str(folder)), device="cpu")


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, -1])
def test_cut_weights(folder: Path, tmp_path: Path, kept: float) -> None:
    path = weights_of(folder)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    message = refusal(folder, tmp_path)
    assert str(path) in message
    assert message.endswith("download it again")


def test_weights_that_are_too_long(folder: Path, tmp_path: Path) -> None:
    path = weights_of(folder)
    path.write_bytes(path.read_bytes() + b"x")
    assert f"{path} must have" in refusal(folder, tmp_path)


def test_weights_that_are_no_safetensors(folder: Path, tmp_path: Path) -> None:
    path = weights_of(folder)
    path.write_bytes((20).to_bytes(8, "little") + b"x" * 400)
    assert f"{path} is not in safetensors format" in refusal(folder, tmp_path)


def test_a_missing_shard(folder: Path, tmp_path: Path) -> None:
    path = weights_of(folder)
    path.unlink()
    message = refusal(folder, tmp_path)
    if path.name != WEIGHTS:
        assert f"{path} is missing (1 of" in message


@pytest.mark.parametrize("name", [None, "tokenizer.json", "config.json", "tokenizer_config.json"])
def test_a_pointer_of_git_lfs(folder: Path, tmp_path: Path, name: str | None) -> None:
    path = folder / name if name else weights_of(folder)
    path.write_text(POINTER)
    message = refusal(folder, tmp_path)
    assert f"{path} is a Git LFS pointer" in message
    assert "git lfs pull" in message


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"', "\x00", "[" * 20_000])
def test_broken_json(tiny: Callable[[str], Path], tmp_path: Path, name: str, content: str) -> None:
    shutil.copytree(tiny("llama"), tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_text(content)
    message = refusal(tmp_path / "model", tmp_path)
    assert str(path) in message
    assert message.endswith("download it again")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer.json", '{"model": {"type": "BPE"}}'),
        ("tokenizer.json", '{"model": 3}'),
        ("config.json", "{}"),
        ("config.json", '{"model_type": "unknown-type"}'),
        ("config.json", '{"model_type": 3}'),
        ("config.json", '{"model_type": "llama", "hidden_size": "wide"}'),
        ("config.json", '{"model_type": "llama", "hidden_size": 47}'),
        ("config.json", '{"model_type": "llama", "num_hidden_layers": -1}'),
        ("config.json", '{"model_type": "llama", "rope_parameters": {"rope_type": "other"}}'),
        ("config.json", '{"model_type": "llama", "hidden_act": "other"}'),
    ],
)
def test_values_that_do_not_fit(
    tiny: Callable[[str], Path], tmp_path: Path, name: str, content: str
) -> None:
    shutil.copytree(tiny("llama"), tmp_path / "model")
    (tmp_path / "model" / name).write_text(content)
    with pytest.raises(UserError) as error:
        load(resolve(str(tmp_path / "model")), device="cpu")
    assert str(tmp_path / "model") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_configuration_is_refused_before_weights_are_read(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny("llama"), tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": ["llama"]}')
    with pytest.raises(UserError):
        read_config(resolve(str(tmp_path / "model")))


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("pointer", [False, True])
def test_a_damaged_adapter(
    tiny: Callable[[str], Path], tmp_path: Path, name: str, pointer: bool
) -> None:
    make_adapter(ADAPTERS["lora"], tiny("llama"), tmp_path, head=True)
    path = tmp_path / name
    path.write_bytes(POINTER.encode() if pointer else path.read_bytes()[:-5])
    with pytest.raises(UserError) as error:
        load(resolve(str(tiny("llama"))), device="cpu", adapter=tmp_path)
    assert str(path) in str(error.value)
    assert "download" in str(error.value)


def test_a_model_with_an_adapter_in_its_folder_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    make_adapter(ADAPTERS["lora"], tiny("llama"), tmp_path, head=True)
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"also holds an adapter .* use --adapter"):
        load(resolve(str(tmp_path)), device="cpu")
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"
