from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from demosearch import Embedder, bulk
from demosearch.bulk import embed_file
from demosearch.errors import UserError

TEXTS = [f"Line number {number}, with a comma" for number in range(23)]


@pytest.fixture
def embedder(tiny: Callable[[str], Path]) -> Embedder:
    return Embedder.without_demonstrations(str(tiny("llama")), precision="fp32", device="cpu")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 5)


def test_npy_output_holds_every_row_in_order(embedder: Embedder, tmp_path: Path) -> None:
    out = tmp_path / "vectors.npy"
    assert embed_file(embedder, TEXTS, out) == 23
    vectors = np.load(out)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, embedder.encode(TEXTS), atol=1e-4)


def test_parquet_output_holds_texts_and_embeddings(embedder: Embedder, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    embed_file(embedder, TEXTS, out, normalize_embeddings=True)
    table = pd.read_parquet(out)
    assert list(table["text"]) == TEXTS
    np.testing.assert_allclose(
        np.stack(table["embedding"].to_list()),
        embedder.encode(TEXTS, normalize_embeddings=True),
        atol=1e-4,
    )


def test_memory_is_independent_of_the_size_of_the_input(embedder: Embedder, tmp_path: Path) -> None:
    ahead = 0
    written = 0

    def texts() -> Iterator[str]:
        nonlocal ahead
        for number in range(40):
            ahead = max(ahead, number - written)
            yield f"Line {number}"

    original = embedder.encode

    def encode(sentences: list[str], **options: bool) -> np.ndarray:
        nonlocal written
        written += len(sentences)
        return original(sentences, **options)

    embedder.encode = encode  # type: ignore[assignment, method-assign]
    embed_file(embedder, texts(), tmp_path / "v.npy")
    assert ahead <= bulk.CHUNK


class Counting:
    """Counts the texts that an embedder encodes."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.texts = 0

    def encode(self, sentences: list[str], **options: bool) -> np.ndarray:
        self.texts += len(sentences)
        return self._embedder.encode(sentences, **options)

    def describe(self) -> dict[str, object]:
        return self._embedder.describe()


@pytest.mark.parametrize("ending", [".npy", ".parquet"])
def test_a_killed_call_is_resumed(embedder: Embedder, tmp_path: Path, ending: str) -> None:
    def broken() -> Iterator[str]:
        yield from TEXTS[:12]
        raise RuntimeError("the source broke")

    out, uninterrupted = tmp_path / f"v{ending}", tmp_path / f"whole{ending}"
    with pytest.raises(RuntimeError, match="the source broke"):
        embed_file(embedder, broken(), out)
    assert not out.exists()
    counting = Counting(embedder)
    assert embed_file(counting, TEXTS, out) == 23  # type: ignore[arg-type]
    # Two chunks of five were finished.
    assert counting.texts == 13
    embed_file(embedder, TEXTS, uninterrupted)
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert sorted(tmp_path.iterdir()) == [out, uninterrupted]


def test_chunks_of_other_texts_or_settings_are_not_reused(
    embedder: Embedder, tmp_path: Path
) -> None:
    def broken() -> Iterator[str]:
        yield from TEXTS[:12]
        raise RuntimeError("the source broke")

    out = tmp_path / "v.npy"
    with pytest.raises(RuntimeError):
        embed_file(embedder, broken(), out)
    changed = ["Another first line", *TEXTS[1:]]
    embed_file(embedder, changed, out, normalize_embeddings=True)
    np.testing.assert_allclose(
        np.load(out), embedder.encode(changed, normalize_embeddings=True), atol=1e-4
    )
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("ending", [".npy", ".parquet"])
def test_no_texts_are_an_error(embedder: Embedder, tmp_path: Path, ending: str) -> None:
    with pytest.raises(UserError, match="there are no texts to embed"):
        embed_file(embedder, [], tmp_path / f"v{ending}")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_output_suffix_is_refused(embedder: Embedder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in \.npy or \.parquet"):
        embed_file(embedder, TEXTS, tmp_path / "v.txt")


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_zeros_of_chunks_that_an_earlier_call_computed_are_counted(
    embedder: Embedder, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    original = embedder.encode

    def encode(sentences: list[str], **options: bool) -> np.ndarray:
        if TEXTS[10] in sentences and not caplog.records:
            raise KeyboardInterrupt
        return original(sentences, **options) * [[text != TEXTS[2]] for text in sentences]

    embedder.encode = encode  # type: ignore[assignment, method-assign]
    out = tmp_path / f"v.{suffix}"
    with pytest.raises(KeyboardInterrupt):
        embed_file(embedder, TEXTS, out, normalize_embeddings=True)
    logging.getLogger("test").warning("the second call")
    embed_file(embedder, TEXTS, out, normalize_embeddings=True)
    assert caplog.messages[1:] == [
        "1 of 23 embeddings are zero and stay zero, because they have no direction; the first one is in"
        " row 3"
    ]


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_zeros_stay_zero_with_one_warning_for_the_file(
    embedder: Embedder, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    original = embedder.encode

    def encode(sentences: list[str], **options: bool) -> np.ndarray:
        return original(sentences, **options) * [[text not in TEXTS[6:20]] for text in sentences]

    embedder.encode = encode  # type: ignore[assignment, method-assign]
    out = tmp_path / f"v.{suffix}"
    embed_file(embedder, TEXTS, out, normalize_embeddings=True)
    vectors = np.load(out) if suffix == "npy" else np.stack(pd.read_parquet(out)["embedding"])
    lengths = [float(row not in range(6, 20)) for row in range(23)]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), lengths, atol=1e-5)
    assert [message for message in caplog.messages if "zero" in message] == [
        "14 of 23 embeddings are zero and stay zero, because they have no direction; the first one is in"
        " row 7"
    ]
    caplog.clear()
    embed_file(embedder, TEXTS, tmp_path / f"plain.{suffix}")
    assert not caplog.messages
