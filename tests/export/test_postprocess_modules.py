from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from demosearch import Embedder
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export import export_sentence_transformer, export_vllm
from demosearch.export.chat_template import EDGE_CASES
from demosearch.postprocess import EmbFilter, Unlabeled, Whitening
from tests.export.test_folder import assert_same, written


@pytest.mark.parametrize("kind", ["whitened", "centered", "embfilter"])
def test_post_processing_is_in_the_folder(
    tiny: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    path = written(tmp_path, tiny("llama"))
    file = DemonstrationsFile.read(path)
    embedder = Embedder.load(path, device="cpu")
    texts = [f"Sentence number {row}." for row in range(60)]
    if kind == "embfilter":
        postprocess = EmbFilter(embedder.encoder.unembedding()).map(1.5)
    else:
        whitening = Whitening(embedder.encode(texts), Unlabeled("texts", texts))
        postprocess = whitening.map(0.25 if kind == "whitened" else 0)
    file.with_postprocess(postprocess).write(path)
    exported = export_sentence_transformer(path, tmp_path / "out")
    assert exported.width == (32 if kind == "embfilter" else 48)
    assert_same(path, tmp_path / "out", list(EDGE_CASES))
    with pytest.raises(UserError, match="--to vllm serves plain embeddings only"):
        export_vllm(path, tmp_path / "served")
