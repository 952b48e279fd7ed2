from __future__ import annotations

import numpy as np
import pytest

from demosearch._common.vectors import normalized, zero_rows


@pytest.mark.parametrize("scale", [1e-45, 1e-40, 1e-30, 1e-13, 1.0, 1e20, 8e37])
def test_rows_of_any_size_have_length_1(scale: float) -> None:
    rows = np.array([[3, -4, 0], [1, 1, 1]], dtype=np.float32) * np.float32(scale)
    wide = rows.astype(np.float64)
    expected = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    found = normalized(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 5e-324, 1e300])
def test_rows_of_float64_of_any_size_have_length_1(scale: float) -> None:
    found = normalized(np.array([[3, -4, 0], [0, 0, 1]]) * scale)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_zeros_stay_zero() -> None:
    rows = np.array([[0, 0], [0, 2], [0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(normalized(rows), [[0, 0], [0, 1], [0, 0]])
    assert zero_rows(rows).tolist() == [0, 2]
