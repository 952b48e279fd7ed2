from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, PreTrainedModel

from demosearch.encoder import token_budget


@pytest.fixture
def model(tiny: Callable[[str], Path]) -> PreTrainedModel:
    return AutoModel.from_pretrained(tiny("llama"), dtype=torch.float32)


def test_the_budget_is_a_power_of_two_that_fits_the_free_memory(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_token = 4 * (8 * 48 + 3 * 96)
    monkeypatch.setattr(token_budget, "free_memory", lambda _: 2 * 1500 * per_token)
    assert token_budget.find_token_budget(model) == 1024
    monkeypatch.setattr(token_budget, "free_memory", lambda _: 0)
    assert token_budget.find_token_budget(model) == token_budget.FEWEST_TOKENS
    monkeypatch.setattr(token_budget, "free_memory", lambda _: 1 << 50)
    assert token_budget.find_token_budget(model) == token_budget.MOST_TOKENS["cpu"]
