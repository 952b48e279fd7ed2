from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from demosearch.candidates import local
from demosearch.candidates.labeling import clean_word
from demosearch.candidates.local import LocalLabeler
from demosearch.models import memory
from demosearch.models.options import LoadOptions
from tests.tiny import appending


def test_a_batch_gives_the_same_words_as_single_sentences(tiny: Callable[[str], Path]) -> None:
    labeler = LocalLabeler(str(tiny("llama")), device="cpu")
    sentences = ["A dog barks at night.", "Rain fell on the town."]
    together = labeler.label(sentences)
    # A batch is padded, and padding must not change the words.
    assert together == [labeler.label([text])[0] for text in sentences]


@pytest.mark.parametrize("free", [1 << 50, 0])
def test_one_device_is_used_if_the_model_fits_on_it(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: free)
    devices: list[object] = []

    def load(_: object, options: LoadOptions, **__: object) -> None:
        devices.append((options.device, options.device_names))

    monkeypatch.setattr(local, "load", load)
    assert LocalLabeler(str(tiny("llama")), devices=["cuda:0", "cuda:1"]).loaded is None
    assert devices == [("cuda:0", None) if free else (None, ["cuda:0", "cuda:1"])]


def test_every_answer_is_a_single_word(tiny: Callable[[str], Path]) -> None:
    # Models with random weights would generate any text.
    for kind in ("llama", "opt", "llama-sentencepiece"):
        labels = LocalLabeler(str(tiny(kind)), device="cpu").label(
            ["A dog barks at night.", "Rain fell on the town.", "Stocks fell."]
        )
        assert all(label is not None and clean_word(label.answer) for label in labels)


def test_an_end_token_that_the_tokenizer_appends_changes_nothing(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = appending(tiny("llama"), tmp_path / "model", "<s> ")
    sentences = ["A cat sleeps.", "Somebody is riding a horse.", "Dogs."]
    plain, other = (
        LocalLabeler(str(name), device="cpu", precision="fp32").label(sentences)
        for name in (tiny("llama"), folder)
    )
    assert plain == other
