"""Code in a model's folder is never run, and nobody is asked whether to run it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from demosearch import Encoder
from demosearch.errors import UserError
from demosearch.evaluation.baselines import open_baseline
from demosearch.finetune import finetune
from demosearch.models.known import Precision, resolve
from demosearch.models.loading import load
from demosearch.models.source import read_config
from demosearch.models.weights import check_weights, weights_bytes
from tests.finetune.small import SETTINGS, TRIPLETS

CODE = """\
import pathlib
pathlib.Path({marker!r}).write_text("run")
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast
class OwnConfig(LlamaConfig):
    model_type = "own-type"
class OwnModel(LlamaModel):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
MAP = {
    "AutoConfig": "own.OwnConfig",
    "AutoModel": "own.OwnModel",
    "AutoModelForCausalLM": "own.OwnModel",
}


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the code of the folder writes; every question is answered with yes."""
    asked: list[str] = []

    def answer(question: str = "") -> str:
        asked.append(question)
        (tmp_path / "marker").write_text("asked")
        return "y"

    monkeypatch.setattr("builtins.input", answer)
    return tmp_path / "marker"


def folder_with_code(
    model: Path, marker: Path, *, model_type: str | None = None, tokenizer_only: bool = False
) -> Path:
    folder = marker.parent / "model"
    shutil.copytree(model, folder)
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    if not tokenizer_only:
        path = folder / "config.json"
        config = json.loads(path.read_text()) | {"auto_map": MAP}
        path.write_text(json.dumps(config | ({"model_type": model_type} if model_type else {})))
    path = folder / "tokenizer_config.json"
    own = {"auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}
    if model_type:
        own["tokenizer_class"] = "OwnTokenizer"  # type: ignore[assignment]
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    return folder


LOADERS: dict[str, Callable[[str], object]] = {
    "encoder": lambda name: Encoder.load(name, device="cpu"),
    "labeler": lambda name: load(resolve(name), device="cpu", head=True),
    "configuration": lambda name: read_config(resolve(name)),
    "size": lambda name: weights_bytes(resolve(name), Precision.FP32),
    "check": lambda name: check_weights(resolve(name), name),
    "finetune": lambda name: finetune(
        name, TRIPLETS, Path(name) / "out", settings=SETTINGS, device="cpu"
    ),
    "baseline": lambda name: open_baseline(name, method="mean", device="cpu"),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_a_model_that_requires_its_own_code_is_refused_in_one_line(
    tiny: Callable[[str], Path], marker: Path, loader: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_with_code(tiny("llama"), marker, model_type="own-type")
    with pytest.raises(UserError) as error:
        LOADERS[loader](str(folder))
    assert f"requires code of its own (auto_map in {folder})" in str(error.value)
    assert "trust_remote_code" not in str(error.value)
    assert not marker.exists()
    assert capsys.readouterr().out == ""


def test_a_sentence_transformer_with_code_is_refused(
    tiny: Callable[[str], Path], marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_with_code(tiny("llama"), marker, model_type="own-type")
    module = {"idx": 0, "name": "0", "path": "", "type": "own.OwnModel"}
    (folder / "modules.json").write_text(json.dumps([module]))
    with pytest.raises(UserError, match="requires code of its own"):
        open_baseline(str(folder), device="cpu")
    assert not marker.exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("tokenizer_only", [False, True])
def test_a_known_type_is_loaded_without_the_folders_code(
    tiny: Callable[[str], Path],
    marker: Path,
    tokenizer_only: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = folder_with_code(tiny("llama"), marker, tokenizer_only=tokenizer_only)
    loaded = load(resolve(str(folder)), device="cpu", precision="fp32")
    plain = AutoModel.from_pretrained(tiny("llama"))
    ids = torch.tensor([[1, 5, 9]])
    with torch.inference_mode():
        found, expected = (each(ids).last_hidden_state for each in (loaded.model, plain))
    torch.testing.assert_close(found, expected)
    assert not marker.exists()
    assert capsys.readouterr().out == ""
