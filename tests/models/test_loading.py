from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from demosearch import Encoder, Prompt
from demosearch.errors import UserError
from demosearch.models import loading
from demosearch.models.known import Precision, resolve
from demosearch.models.loading import load


def test_hub_model_offline_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        load(resolve("opt-125m"), device="cpu")
    assert "facebook/opt-125m" in str(error.value)
    assert "--model FOLDER" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16, Precision.FP16])
def test_weights_have_the_precision_asked_for(
    tiny: Callable[[str], Path], precision: Precision
) -> None:
    loaded = load(resolve(str(tiny("llama"))), precision=precision, device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {
        {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    }
    assert loaded.record.precision == precision


@pytest.mark.parametrize("family", ["opt", "llama"])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.NF4])
def test_a_model_has_the_same_size_however_it_is_loaded(
    tiny: Callable[[str], Path], family: str, head: bool, precision: Precision
) -> None:
    folder = tiny(family)
    plain = AutoModel.from_pretrained(folder)
    loaded = load(resolve(str(folder)), precision=precision, device="cpu", head=head)
    assert loaded.record.parameters == sum(each.numel() for each in plain.parameters())


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
    assert loading.default_precision("cpu") is Precision.FP32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert loading.default_precision("cpu") is Precision.BF16


@pytest.mark.parametrize("precision", ["int8", "nf4"])
@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_quantised_weights_encode_nearly_alike(
    tiny: Callable[[str], Path], precision: str, kind: str
) -> None:
    texts = ["A cat sleeps.", "Dogs bark at night, all of them.", ""]
    exact = Encoder.load(str(tiny(kind)), precision="fp32", device="cpu").encode(texts, Prompt())
    encoder = Encoder.load(str(tiny(kind)), precision=precision, device="cpu")
    kinds = {type(module).__name__ for module in encoder.model.modules()}
    assert {"int8": "Linear8bitLt", "nf4": "Linear4bit"}[precision] in kinds
    assert encoder.record.precision == precision
    states = encoder.encode(texts, Prompt())
    cosines = (
        (states * exact).sum(1) / np.linalg.norm(states, axis=1) / np.linalg.norm(exact, axis=1)
    )
    assert cosines.min() > {"int8": 0.98, "nf4": 0.8}[precision]
    assert not np.allclose(states, exact, atol=1e-4)


@pytest.mark.parametrize("trained", [False, True])
def test_weights_are_packed_only_where_that_is_right(
    monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    # As on a CPU with bfloat16 instructions, whatever this one has.
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    model = torch.nn.Sequential(Linear4bit(64, 96), Linear4bit(96, 64), Linear4bit(64, 48))
    loading.limit_packing(model, trained=trained)
    assert [part.support_avx512bf16_for_cpu for part in model] == [not trained, False, False]


def test_nf4_is_quantised_twice_and_says_its_compute_type() -> None:
    wanted = loading.quantisation(Precision.NF4, torch.bfloat16)
    assert wanted is not None
    assert wanted.bnb_4bit_quant_type == "nf4"
    assert wanted.bnb_4bit_use_double_quant
    assert wanted.bnb_4bit_compute_dtype is torch.bfloat16


def test_without_bitsandbytes_the_package_is_named(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'demosearch\[quantization\]'"):
        load(resolve(str(tiny("llama"))), precision=Precision.NF4, device="cpu")


# peft asks transformers by a name that is going away.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_an_adapter_trained_with_the_head_is_the_one_published_for_the_paper(
    tiny: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny(kind), dtype=torch.float32)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        target_modules=["q_proj", "v_proj"],
        init_lora_weights=False,
        base_model_name_or_path=str(tiny(kind)),
    )
    trained = get_peft_model(base, lora).eval()
    assert isinstance(trained, PeftModel)
    trained.save_pretrained(tmp_path)
    inputs = AutoTokenizer.from_pretrained(tiny(kind))(
        Prompt().render("A cat sleeps."), return_tensors="pt", return_token_type_ids=False
    )
    with torch.inference_mode():
        expected = trained(**inputs, output_hidden_states=True).hidden_states[-1][0, -1].numpy()
    name = str(tiny(kind))
    encoder = Encoder.load(name, precision="fp32", device="cpu", adapter=tmp_path)
    found = encoder.encode(["A cat sleeps."], Prompt())[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    plain = Encoder.load(name, precision="fp32", device="cpu").encode(["A cat sleeps."], Prompt())
    assert not np.allclose(found, plain[0], atol=1e-2)


def test_weights_that_are_a_pickle_are_read_only_on_request(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny("opt"), dtype=torch.float32)
    base.add_adapter(LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    base.save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    weights = get_peft_model_state_dict(base, adapter_name="default")
    named = {f"base_model.model.{name}": value for name, value in weights.items()}
    torch.save(named, tmp_path / "adapter_model.bin")
    source = resolve(str(tiny("opt")))
    with pytest.raises(UserError, match="--allow-pickle reads them"):
        load(source, device="cpu", adapter=tmp_path)
    loaded = load(source, device="cpu", adapter=tmp_path, allow_pickle=True)
    assert loaded.adapter is not None
    assert loaded.adapter.revision.startswith("sha256:")
    found = [value for name, value in loaded.model.named_parameters() if "lora_B" in name]
    assert found
    assert all(value.abs().max() > 0 for value in found)


def test_an_adapter_that_is_no_folder_and_not_on_the_hub_is_one_line(
    tiny: Callable[[str], Path],
) -> None:
    for name in ("someone/some-adapter", "no such/folder at/all"):
        with pytest.raises(UserError) as error:
            load(resolve(str(tiny("opt"))), device="cpu", adapter=name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
