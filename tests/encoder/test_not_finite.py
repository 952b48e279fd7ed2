"""States that are not finite are refused, with the text and its row."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from demosearch import Embedder, Encoder, Prompt, bulk, search
from demosearch.bulk import embed_file
from demosearch.errors import NotFiniteError, UserError
from demosearch.evaluation import evaluate, find_tasks, read_tasks
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs, write_fake_pairs
from tests.tiny import ODD, overflowing

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


def test_an_evaluation_names_the_pair(encoder: Encoder, tmp_path: Path) -> None:
    path = Path(write_fake_pairs(tmp_path / "pairs.csv", 12))
    path.write_text(path.read_text() + f"{BAD},other,3\n")
    tasks = find_tasks(str(path))
    with pytest.raises(NotFiniteError, match=r"^pairs, pair 13: the embedding of "):
        evaluate(Embedder(encoder, [Prompt()]), read_tasks(tasks, None), tasks=tasks)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_the_texts_whose_plain_states_overflow_are_those_that_are_refused(
    tiny: Callable[[str], Path], tmp_path: Path, precision: str
) -> None:
    model = str(overflowing(tiny("llama"), tmp_path / "model"))
    texts = ["A cat sleeps.", f"Some {ODD} that is longer than the other one", f"A {ODD} b"]
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    base = AutoModel.from_pretrained(model, dtype=dtype).eval()
    finite = []
    for text in texts:
        ids = AutoTokenizer.from_pretrained(model)(Prompt().render(text), return_tensors="pt")
        with torch.inference_mode():
            states = base(input_ids=ids["input_ids"]).last_hidden_state
        finite.append(bool(states[0, -1].isfinite().all()))
    assert finite == ([True, False, False] if precision == "fp16" else [True] * 3)
    encoder = Encoder.load(model, precision=precision, device="cpu")
    if precision != "fp16":
        assert np.isfinite(encoder.encode(texts, Prompt())).all()
        return
    # The first one, although the longer one is in the same batch.
    with pytest.raises(
        NotFiniteError, match=r"^row 2: .* at layer 3 in fp16; use --precision bf16"
    ):
        encoder.encode(texts, Prompt())
    dev = fake_pairs(12)
    odd = replace(dev, sentences2=(*dev.sentences2[:6], f"second {ODD}", *dev.sentences2[7:]))
    reason = "because: fake, pair 7: the embedding of 'second ~' is not finite at layer 3 in fp16"
    with pytest.raises(UserError, match=reason):
        search(encoder, fake_candidates([5, 6, 7]), odd, folder=tmp_path / "study")


def test_an_encoder_of_one_s_own_is_checked(tmp_path: Path) -> None:
    class Own(FakeEncoder):
        """Returns float64; one text has a number that float32 does not hold."""

        def encode(self, texts, prompt, *, advance=None):  # type: ignore[no-untyped-def]
            states = super().encode(texts, prompt, advance=advance).astype(np.float64)
            states[["large" in text for text in texts]] = 1e300
            return states

    texts = ["a 1 2", "b 1 2", "large 1 2"]
    embedder = Embedder(Own(), [Prompt()])  # type: ignore[arg-type]
    reason = "the embedding of 'large 1 2' is not finite at layer 3 in fp32"
    with pytest.raises(NotFiniteError, match=f"^row 3: {reason}"):
        embedder.encode(texts)
    with pytest.raises(NotFiniteError, match=f"^row 1: {reason}"):
        embedder.encode(texts[2])
    assert embedder.encode(texts[:2]).dtype == np.float32
    with pytest.raises(NotFiniteError, match=f"^row 3: {reason}"):
        embed_file(embedder, texts, tmp_path / "v.npy")


def test_a_located_error_survives_another_process() -> None:
    error = NotFiniteError("A cat.", "layer 3", "fp16", 4, what="the next token").at("p, pair 7")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert str(again).startswith("p, pair 7: the next token of 'A cat.' is not finite at layer 3")
    assert str(again.in_row(1)).startswith("row 2: the next token of 'A cat.'")
