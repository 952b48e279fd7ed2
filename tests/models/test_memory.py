from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, PreTrainedModel

from demosearch.models import memory
from demosearch.models.known import KNOWN_MODELS


@pytest.fixture
def model(tiny: Callable[[str], Path]) -> PreTrainedModel:
    return AutoModel.from_pretrained(tiny("llama"), dtype=torch.float32)


def test_budget_is_a_power_of_two_that_fits(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_token = 4 * (8 * 48 + 3 * 96)
    monkeypatch.setattr(memory, "free_memory", lambda _: 2 * 1500 * per_token)
    assert memory.find_token_budget(model) == 1024
    monkeypatch.setattr(memory, "free_memory", lambda _: 0)
    assert memory.find_token_budget(model) == memory.FEWEST_TOKENS
    monkeypatch.setattr(memory, "free_memory", lambda _: 1 << 50)
    assert memory.find_token_budget(model) == memory.MOST_TOKENS["cpu"]


def test_free_memory_is_part_of_all() -> None:
    assert 0 < memory.free_memory("cpu") <= memory.total_memory("cpu")


def test_what_fits_is_the_finest_precision_for_the_memory() -> None:
    gib = 1 << 30
    row = KNOWN_MODELS["llama-13b"]
    assert memory.Machine((80 * gib,), gpu=True).fits(row) == "fp32"
    assert memory.Machine((40 * gib,), gpu=True).fits(row) == "bf16"
    assert memory.Machine((16 * gib,), gpu=True).fits(row) == "int8"
    assert memory.Machine((12 * gib,), gpu=True).fits(row) == "nf4"
    assert memory.Machine((40 * gib, 40 * gib), gpu=True).fits(row) == "fp32 x 2"
    assert memory.Machine((4 * gib,), gpu=False).fits(row) is None
    assert memory.machine().devices
