from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from scipy import linalg

from demosearch._common.vectors import normalized
from demosearch.errors import UserError
from demosearch.metrics.similarity import cosine
from demosearch.postprocess import (
    EmbFilter,
    Kind,
    Postprocess,
    PostprocessRecord,
    Unlabeled,
    Whitening,
    arrays_sha256,
)

GENERATOR = np.random.default_rng(0)
# Correlated, and far from the origin.
EMBEDDINGS = (GENERATOR.normal(size=(400, 6)) @ GENERATOR.normal(size=(6, 6)) + 3).astype("float32")
TEXTS = Unlabeled("texts.txt", [f"text {row}" for row in range(400)])


def test_full_whitening_gives_uncorrelated_dimensions_of_one_variance() -> None:
    mapped = Whitening(EMBEDDINGS, TEXTS).map(exponent=0.5, ridge=0).apply(EMBEDDINGS)
    covariance = np.cov(mapped.T.astype(np.float64))
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(6), atol=1e-4)
    np.testing.assert_allclose(mapped.mean(axis=0), 0, atol=1e-5)


def test_an_exponent_of_zero_is_centering() -> None:
    postprocess = Whitening(EMBEDDINGS, TEXTS).map(exponent=0, ridge=0)
    rows = normalized(EMBEDDINGS)
    np.testing.assert_allclose(postprocess.apply(EMBEDDINGS), rows - rows.mean(axis=0), atol=1e-6)
    assert postprocess.matrix is None
    assert postprocess.record.label == "centered"


def test_soft_whitening_is_a_fractional_power_of_the_covariance() -> None:
    rows = normalized(EMBEDDINGS).astype(np.float64)
    centered = rows - rows.mean(axis=0)
    covariance = np.cov(rows.T, bias=True)
    ridge = 0.1 * np.trace(covariance) / 6
    power = linalg.fractional_matrix_power(covariance + ridge * np.eye(6), -0.25)
    expected = (centered @ power.real).astype(np.float32)
    found = Whitening(EMBEDDINGS, TEXTS).map(exponent=0.25, ridge=0.1).apply(EMBEDDINGS)
    # The scale does not matter.
    np.testing.assert_allclose(
        cosine(found[:200], found[200:]), cosine(expected[:200], expected[200:]), atol=1e-5
    )


def test_constant_embeddings_are_mapped_to_finite_ones() -> None:
    same = np.ones((4, 3), dtype=np.float32)
    postprocess = Whitening(same, Unlabeled("same", ["a", "b", "c", "d"])).map(0.5, 0.1)
    assert np.isfinite(postprocess.apply(same)).all()


def test_embfilter_keeps_the_middle_right_singular_vectors() -> None:
    unembedding = GENERATOR.normal(size=(50, 8)).astype(np.float32) * np.arange(1, 9)
    postprocess = EmbFilter(unembedding.astype(np.float32)).map(ratio=2)
    _, _, vectors = np.linalg.svd(unembedding.astype(np.float64), full_matrices=False)
    rows = GENERATOR.normal(size=(20, 8)).astype(np.float32)
    found, expected = postprocess.apply(rows), normalized(rows) @ vectors[2:6].T
    assert found.shape == (20, 4)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)
    assert postprocess.record.label == "embfilter, ratio 2"


def test_a_written_map_is_read_again(tmp_path: Path) -> None:
    postprocess = Whitening(EMBEDDINGS, TEXTS).map()
    postprocess.write(tmp_path / "a.safetensors")
    again = Postprocess.read(tmp_path / "a.safetensors", postprocess.record)
    np.testing.assert_array_equal(again.apply(EMBEDDINGS), postprocess.apply(EMBEDDINGS))
    np.testing.assert_array_equal(again.texts, postprocess.texts)
    other = Whitening(EMBEDDINGS[:200], Unlabeled("half", TEXTS.texts[:200])).map()
    with pytest.raises(UserError, match="belongs to a different demonstrations file"):
        Postprocess.read(tmp_path / "a.safetensors", other.record)
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"a\.safetensors is not a safetensors file"):
        Postprocess.read(tmp_path / "a.safetensors", postprocess.record)
    with pytest.raises(UserError, match="must be beside the demonstrations file"):
        Postprocess.read(tmp_path / "missing.safetensors", postprocess.record)


def test_embeddings_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="fitted on embeddings of width 6 but got width 5"):
        Whitening(EMBEDDINGS, TEXTS).map().apply(EMBEDDINGS[:, :5])


def test_the_mean_of_an_earlier_version_is_subtracted_from_the_embedding_as_it_is() -> None:
    mean = np.arange(6, dtype=np.float32)
    record = PostprocessRecord(
        kind=Kind.CENTER, fitted_on="dev", texts=2, sha256=arrays_sha256(mean, None)
    )
    found = Postprocess(record, mean, None).apply(EMBEDDINGS)
    np.testing.assert_array_equal(found, EMBEDDINGS - mean)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_arrays_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    good = Whitening(EMBEDDINGS, TEXTS).map()
    for name in ("mean", "matrix"):
        arrays = {"mean": good.mean.copy(), "matrix": good.matrix.copy()}
        arrays[name].flat[3] = value
        digest = arrays_sha256(arrays["mean"], arrays["matrix"])
        record = good.record.model_copy(update={"sha256": digest})
        with pytest.raises(UserError, match=f"^the {name} of post-processing must be finite"):
            Postprocess(record, arrays["mean"], arrays["matrix"])
        safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
        with pytest.raises(UserError, match=rf"a\.safetensors: the {name} of post-processing must"):
            Postprocess.read(tmp_path / "a.safetensors", record)
    with pytest.raises(
        UserError, match="the unembedding matrix of the model has a value that is not"
    ):
        EmbFilter(np.full((4, 2), value, dtype=np.float32))


def test_very_short_embeddings_are_whitened_like_others() -> None:
    small = EMBEDDINGS * np.float32(1e-38)
    found, expected = Whitening(small, TEXTS).map(), Whitening(EMBEDDINGS, TEXTS).map()
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.apply(small), expected.apply(EMBEDDINGS), atol=1e-3)
