from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from demosearch import Embedder, Encoder
from demosearch.errors import UserError
from demosearch.integrations.sklearn_transformer import EmbeddingTransformer
from tests.examples import demonstrations_file

TEXTS = [f"A dog barks at {row}" for row in range(12)] + [
    f"Stocks fell {row}%" for row in range(12)
]
LABELS = [0] * 12 + [1] * 12


def test_it_works_in_a_pipeline(tiny: Callable[[str], Path]) -> None:
    folder = str(tiny("llama"))
    step = EmbeddingTransformer(model=folder, precision="fp32", device="cpu", normalize=True)
    pipeline = clone(make_pipeline(step, LogisticRegression(C=100)))
    assert pipeline.fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1
    embedder = Embedder.without_demonstrations(folder, precision="fp32", device="cpu")
    np.testing.assert_allclose(
        pipeline[0].transform(TEXTS), embedder.encode(TEXTS, normalize_embeddings=True), atol=1e-6
    )


def test_the_same_weights_may_be_in_another_folder(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tiny("llama")
    encoder = Encoder.load(str(folder), precision="fp32", device="cpu")
    file = tmp_path / "best.json"
    demonstrations_file(encoder.record).write(file)
    shutil.copytree(folder, tmp_path / "copy")
    original, copied = (
        EmbeddingTransformer(str(file), model=model, device="cpu").fit([]).transform(TEXTS)
        for model in (None, str(tmp_path / "copy"))
    )
    np.testing.assert_array_equal(original, copied)
    with pytest.raises(UserError, match="was made for model"):
        EmbeddingTransformer(str(file), model=str(tiny("opt")), device="cpu").fit([])


def test_transform_before_fit_is_refused() -> None:
    with pytest.raises(NotFittedError):
        EmbeddingTransformer(model="smollm2-135m").transform(TEXTS)


def test_fit_without_a_model_is_refused() -> None:
    with pytest.raises(UserError, match="requires demonstrations or a model"):
        EmbeddingTransformer().fit(TEXTS)
