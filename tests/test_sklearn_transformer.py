from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from demosearch import Embedder
from demosearch.errors import UserError
from demosearch.sklearn_transformer import EmbeddingTransformer

TEXTS = [f"A dog barks at {row}" for row in range(12)] + [
    f"Stocks fell {row}%" for row in range(12)
]
LABELS = [0] * 12 + [1] * 12


def test_it_is_a_step_of_a_pipeline(tiny: Callable[[str], Path]) -> None:
    folder = str(tiny("llama"))
    step = EmbeddingTransformer(model=folder, precision="fp32", device="cpu", normalize=True)
    pipeline = clone(make_pipeline(step, LogisticRegression(C=100)))
    assert pipeline.fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1
    embedder = Embedder.without_demonstrations(folder, precision="fp32", device="cpu")
    np.testing.assert_allclose(
        pipeline[0].transform(TEXTS), embedder.encode(TEXTS, normalize_embeddings=True), atol=1e-6
    )


def test_without_a_model_it_says_so() -> None:
    with pytest.raises(UserError, match="give demonstrations or a model"):
        EmbeddingTransformer().fit(TEXTS)
