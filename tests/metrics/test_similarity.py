from __future__ import annotations

import numpy as np

from demosearch.metrics.similarity import averaged, cosine, zero_pairs


def test_cosine_by_hand() -> None:
    first = np.array([[1, 0], [1, 1], [3, 4]], dtype=np.float32)
    second = np.array([[0, 2], [2, 2], [4, 3]], dtype=np.float32)
    np.testing.assert_allclose(cosine(first, second), [0, 1, 24 / 25], atol=1e-7)


def test_a_zero_vector_has_similarity_0_as_in_senteval() -> None:
    first = np.array([[0, 0], [0, 0], [1, 0], [1, 2]], dtype=np.float32)
    second = np.array([[0, 0], [1, 2], [0, 0], [1, 2]], dtype=np.float32)
    np.testing.assert_array_equal(cosine(first, second), [0, 0, 0, 1])
    # SentEval: a cosine that is nan counts as 0.
    with np.errstate(invalid="ignore"):
        plain = (first * second).sum(axis=1) / (
            np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        )
    np.testing.assert_allclose(cosine(first, second), np.nan_to_num(plain), atol=1e-6)
    assert zero_pairs(first, second) == 3


def test_what_is_not_finite_has_no_cosine() -> None:
    first = np.array([[np.inf, 0], [np.nan, 1]], dtype=np.float32)
    assert np.isnan(cosine(first, np.ones((2, 2), dtype=np.float32))).all()


def test_only_the_ratio_of_weights_counts() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    expected = averaged([first, second], [1, 3])
    for scale in (1e-300, 1e-40, 1e40, 1e307):
        found = averaged([first, second], [scale, 3 * scale])
        np.testing.assert_allclose(found, expected, atol=1e-6)
