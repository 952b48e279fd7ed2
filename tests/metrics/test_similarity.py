from __future__ import annotations

import numpy as np

from demosearch.metrics.similarity import cosine


def test_cosine_by_hand() -> None:
    first = np.array([[1, 0], [1, 1], [3, 4]], dtype=np.float32)
    second = np.array([[0, 2], [2, 2], [4, 3]], dtype=np.float32)
    np.testing.assert_allclose(cosine(first, second), [0, 1, 24 / 25], atol=1e-7)


def test_the_cosine_of_a_zero_vector_is_nan_without_a_warning() -> None:
    zero = np.zeros((1, 2), dtype=np.float32)
    assert np.isnan(cosine(zero, zero)).all()
