from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModel

from demosearch.errors import UserError
from demosearch.models.known import resolve
from demosearch.models.loading import load
from demosearch.models.precision import Precision


def test_a_hub_model_without_network_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        load(resolve("opt-125m"), device="cpu")
    assert "facebook/opt-125m" in str(error.value)
    assert "--model FOLDER" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", ["opt", "llama"])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.NF4])
def test_the_number_of_parameters_does_not_depend_on_how_a_model_is_loaded(
    tiny: Callable[[str], Path], family: str, head: bool, precision: Precision
) -> None:
    folder = tiny(family)
    plain = AutoModel.from_pretrained(folder)
    loaded = load(resolve(str(folder)), precision=precision, device="cpu", head=head)
    assert loaded.record.parameters == sum(each.numel() for each in plain.parameters())
