"""States that are not finite are refused, with the text and its row."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from demosearch import Embedder, Encoder, Prompt, bulk
from demosearch.bulk import embed_file
from demosearch.errors import NotFiniteError
from demosearch.evaluation import evaluate, find_tasks, read_tasks
from tests.fakes import write_fake_pairs

GOOD = [f"Sentence number {row}." for row in range(9)]
# The only text with this character.
BAD = "A text with a ~ in it."


@pytest.fixture
def encoder(tiny: Callable[[str], Path]) -> Encoder:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    (*_, token) = encoder.tokenizer("~", add_special_tokens=False)["input_ids"]
    assert not any(token in encoder.tokenizer(text)["input_ids"] for text in GOOD)
    with torch.no_grad():
        encoder.model.get_input_embeddings().weight[token] = torch.inf
    return encoder


def test_the_row_the_text_and_the_precision_are_named(encoder: Encoder) -> None:
    texts = [*GOOD[:4], BAD, *GOOD[4:], BAD]
    with pytest.raises(NotFiniteError) as raised:
        encoder.encode(texts, Prompt())
    assert str(raised.value) == (
        f"row 5: the embedding of '{BAD}' is not finite at layer 3 in fp32; the weights or the adapter"
        " may be damaged"
    )
    # The others are not affected.
    assert np.isfinite(encoder.encode(GOOD, Prompt())).all()
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.row) == (str(raised.value), 4)


@pytest.mark.parametrize(
    ("precision", "advice"),
    [("fp16", "use --precision bf16 or fp32"), ("bf16", "use --precision fp32")],
)
def test_a_precision_with_a_wider_range_is_advised(precision: str, advice: str) -> None:
    assert str(NotFiniteError("A cat.", "layer 3", precision)) == (
        f"the embedding of 'A cat.' is not finite at layer 3 in {precision}; {advice}"
    )


def test_the_row_is_that_of_the_whole_file(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 4)
    out = tmp_path / "vectors.npy"
    with pytest.raises(NotFiniteError, match=r"^row 7: "):
        embed_file(Embedder(encoder, [Prompt()]), [*GOOD[:6], BAD, *GOOD[6:]], out)
    assert not out.exists()


def test_pairs_of_a_comparison_have_no_rows(encoder: Encoder) -> None:
    with pytest.raises(NotFiniteError, match=r"^the embedding of "):
        encoder.compare([GOOD[0], BAD], Prompt(), [3], [0], [1])


def test_tasks_of_an_evaluation_have_no_rows(encoder: Encoder, tmp_path: Path) -> None:
    path = Path(write_fake_pairs(tmp_path / "pairs.csv", 12))
    path.write_text(path.read_text() + f"{BAD},other,3\n")
    tasks = find_tasks(str(path))
    with pytest.raises(NotFiniteError, match=r"^the embedding of "):
        evaluate(Embedder(encoder, [Prompt()]), read_tasks(tasks, None), tasks=tasks)
