"""Adapters of every type give PEFT's own states, or are refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from peft import PeftConfig
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from demosearch import Embedder, Encoder, Prompt
from demosearch.errors import UserError
from demosearch.models.adapted import put_on
from demosearch.models.known import resolve
from demosearch.models.loading import load
from tests.models.adapters import ADAPTERS, WITH_HEAD, make_adapter, peft_states
from tests.torchrun import torchrun

TEXTS = ["A cat sleeps.", "Somebody is riding a horse and sings."]
CASES: list[tuple[str, Callable[[], PeftConfig], bool]] = [
    *((name, config, head) for name, config in ADAPTERS.items() for head in (True, False)),
    *((name, config, True) for name, config in WITH_HEAD.items()),
]
IDS = [f"{name}{'-with-head' if head else ''}" for name, _, head in CASES]
every_adapter = pytest.mark.parametrize(("name", "config", "head"), CASES, ids=IDS)
# A bias without a bias of the base cannot be merged, see the test of the refusal.
every_mergeable_adapter = pytest.mark.parametrize(
    ("name", "config", "head"),
    [
        pytest.param(*case, id=identifier)
        for case, identifier in zip(CASES, IDS, strict=True)
        if case[0] != "lora-bias"
    ],
)


@every_adapter
def test_states_are_pefts_own(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    config: Callable[[], PeftConfig],
    head: bool,
) -> None:
    model = tiny("llama")
    make_adapter(config, model, tmp_path, head=head)
    prompts = [Prompt().render(text) for text in TEXTS]
    expected = peft_states(model, tmp_path, prompts, head=head)
    encoder = Encoder.load(str(model), precision="fp32", device="cpu", adapter=tmp_path)
    found = encoder.encode(TEXTS, Prompt())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)
    plain = Encoder.load(str(model), precision="fp32", device="cpu").encode(TEXTS, Prompt())
    assert not np.allclose(found, plain, atol=1e-2), name


@every_mergeable_adapter
def test_merged_weights_give_the_same_states(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    config: Callable[[], PeftConfig],
    head: bool,
) -> None:
    model = tiny("llama")
    make_adapter(config, model, tmp_path / "adapter", head=head)
    expected = peft_states(model, tmp_path / "adapter", TEXTS, head=head)
    base = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    put_on(base, tmp_path / "adapter", name, safe=True).merge()
    base.save_pretrained(tmp_path / "merged")
    merged, report = AutoModel.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokenizer = load(resolve(str(model)), device="cpu").tokenizer
    for text, row in zip(TEXTS, expected, strict=True):
        with torch.inference_mode():
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            states = merged.eval()(ids).last_hidden_state[0, -1]
        torch.testing.assert_close(states, row, atol=1e-3, rtol=1e-3)


def test_biases_without_a_place_in_the_base_cannot_be_merged(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    make_adapter(ADAPTERS["lora-bias"], tiny("llama"), tmp_path, head=True)
    adapted = put_on(AutoModel.from_pretrained(tiny("llama")), tmp_path, "ours", safe=True)
    with pytest.raises(UserError, match=r"the LORA adapter ours cannot be merged: .* has no bias"):
        adapted.merge()


@pytest.mark.parametrize("family", ["opt", "gpt2", "qwen3", "gemma2-softcap", "gpt-neox"])
@pytest.mark.parametrize("head", [True, False])
def test_states_of_other_families_are_pefts_own(
    tiny: Callable[[str], Path], tmp_path: Path, family: str, head: bool
) -> None:
    model = tiny(family)
    make_adapter(ADAPTERS["lora-linear"], model, tmp_path, head=head)
    expected = peft_states(model, tmp_path, [Prompt().render(text) for text in TEXTS], head=head)
    encoder = Encoder.load(str(model), precision="fp32", device="cpu", adapter=tmp_path)
    found = encoder.encode(TEXTS, Prompt())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)


def refusal(model: Path, adapter: Path) -> str:
    with pytest.raises(UserError) as error:
        load(resolve(str(model)), device="cpu", precision="fp32", adapter=adapter)
    assert "\n" not in str(error.value)
    assert str(adapter) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "PROMPT_TUNING"),
        (peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "PREFIX_TUNING"),
        (peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "P_TUNING"),
    ],
)
def test_tuned_prompts_are_refused_by_their_type(
    tiny: Callable[[str], Path], tmp_path: Path, config: PeftConfig, kind: str
) -> None:
    make_adapter(lambda: config, tiny("llama"), tmp_path, head=True)
    assert f"adapters of type {kind} are not supported" in refusal(tiny("llama"), tmp_path)


@pytest.mark.parametrize("name", ["lora", "dora", "saved-norm", "tokens", "ia3", "vera"])
@pytest.mark.parametrize("head", [True, False])
def test_a_missing_or_unexpected_key_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path, name: str, head: bool
) -> None:
    make_adapter(ADAPTERS[name], tiny("llama"), tmp_path, head=head)
    path = tmp_path / "adapter_model.safetensors"
    weights = load_file(path)
    for key in {key.rpartition("layers.")[2][2:]: key for key in weights}.values():
        save_file({name: value for name, value in weights.items() if name != key}, path)
        assert f"lacks the key {key} (1 missing in total)" in refusal(tiny("llama"), tmp_path)
    key = next(iter(weights))
    for other in (f"{key}.other", "base_model.model.vision.q_proj.lora_A.weight"):
        save_file({**weights, other: weights[key].clone()}, path)
        assert f"its key {other} is not part of the model" in refusal(tiny("llama"), tmp_path)


def test_an_adapter_of_another_size_is_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    make_adapter(ADAPTERS["lora"], tiny("llama"), tmp_path, head=True)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 2}))
    assert "(type LORA) does not fit the model" in refusal(tiny("llama"), tmp_path)


def test_a_classifiers_adapter_is_loaded_without_its_head(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    make_adapter(ADAPTERS["lora"], tiny("llama"), tmp_path, head=True)
    path = tmp_path / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({**weights, "base_model.model.score.weight": torch.ones(2, 48)}, path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config |= {"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    loaded = load(resolve(str(tiny("llama"))), device="cpu", precision="fp32", adapter=tmp_path)
    [name] = [name for name, _ in loaded.model.named_modules() if name.endswith("0.mlp.down_proj")]
    found = loaded.model.get_submodule(f"{name}.lora_A.default").weight
    torch.testing.assert_close(found, weights[f"base_model.model.model.{name}.lora_A.weight"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"peft_type": "OTHER"}', '{"peft_type": 3}'])
def test_a_broken_configuration_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path, content: str
) -> None:
    make_adapter(ADAPTERS["lora"], tiny("llama"), tmp_path, head=True)
    (tmp_path / "adapter_config.json").write_text(content)
    refusal(tiny("llama"), tmp_path)


@pytest.mark.parametrize("name", ["lora", "dora", "ia3"])
def test_an_adapter_on_a_split_model_gives_the_same_states_or_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    model, adapter, out = str(tiny("llama")), tmp_path / "adapter", tmp_path / "v.npy"
    make_adapter(ADAPTERS[name], tiny("llama"), adapter, head=True)
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS) + "\n")
    options: list[str | Path] = [
        "--model",
        model,
        "--adapter",
        adapter,
        "--precision",
        "fp32",
        "--out",
        out,
    ]
    result = torchrun(2, "demosearch", "embed", tmp_path / "lines.txt", *options)
    if name == "lora":
        assert result.returncode == 0, result.stderr
        encoder = Encoder.load(model, precision="fp32", device="cpu", adapter=adapter)
        expected = Embedder(encoder, [Prompt()]).encode(TEXTS)
        np.testing.assert_allclose(np.load(out), expected, atol=1e-4)
    else:
        assert result.returncode != 0
        assert "is not supported on a model that torchrun" in " ".join(result.stderr.split())
