from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from demosearch.errors import UserError
from demosearch.models.finite import checked


@pytest.mark.parametrize(
    "values",
    [
        torch.ones(2, 3, requires_grad=True),
        [torch.ones(3, requires_grad=True)] * 2,
        torch.ones(2, 3, dtype=torch.bfloat16),
        np.ones((2, 3), dtype=complex),
        torch.ones(2, 3, dtype=torch.complex64),
        [[1, 10**400], [1, 2]],
        [[1, 2], [1]],
        None,
    ],
    ids=["gradient", "gradients", "bf16", "complex", "complex tensor", "huge", "ragged", "none"],
)
def test_embeddings_that_are_not_an_array_of_real_numbers_are_refused(values: Any) -> None:
    with pytest.raises(UserError, match=r"^embeddings must ") as raised:
        checked(values, ["a", "b"], "fp32")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "values", [torch.eye(2), np.eye(2), [[1, 0], [0, 1]], [torch.eye(2)[0], [0, 1]]]
)
def test_what_can_be_converted_is_an_array_of_float32(values: Any) -> None:
    rows = checked(values, ["a", "b"], "fp32")
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.eye(2))
