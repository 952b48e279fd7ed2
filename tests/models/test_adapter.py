from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from demosearch import Encoder, Prompt
from demosearch.errors import UserError
from demosearch.models.known import resolve
from demosearch.models.loading import load


def test_a_folder_without_adapter_is_an_error(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no adapter_config\.json"):
        load(resolve(str(tiny("llama"))), device="cpu", adapter=tmp_path)


# peft uses a name of transformers that is deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_an_adapter_trained_with_the_head_gives_the_states_it_was_trained_for(
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


def test_weights_in_pickle_format_are_read_only_on_request(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny("opt"), dtype=torch.float32)
    base.add_adapter(LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    base.save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    weights = get_peft_model_state_dict(base, adapter_name="default")
    named = {f"base_model.model.{name}": value for name, value in weights.items()}
    torch.save(named, tmp_path / "adapter_model.bin")
    source = resolve(str(tiny("opt")))
    with pytest.raises(UserError, match="use --allow-pickle"):
        load(source, device="cpu", adapter=tmp_path)
    loaded = load(source, device="cpu", adapter=tmp_path, allow_pickle=True)
    assert loaded.adapter is not None
    assert loaded.adapter.revision.startswith("sha256:")
    found = [value for name, value in loaded.model.named_parameters() if "lora_B" in name]
    assert found
    assert all(value.abs().max() > 0 for value in found)


def test_an_adapter_that_does_not_exist_is_a_one_line_error(
    tiny: Callable[[str], Path],
) -> None:
    for name in ("someone/some-adapter", "no such/folder at/all"):
        with pytest.raises(UserError) as error:
            load(resolve(str(tiny("opt"))), device="cpu", adapter=name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
