from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from demosearch.candidates import local
from demosearch.candidates.labeling import clean_word
from demosearch.candidates.language import is_in_script_of
from demosearch.candidates.local import LocalLabeler
from demosearch.candidates.one_word import OneWord
from demosearch.errors import NotFiniteError
from demosearch.models import memory
from demosearch.models.options import LoadOptions
from tests.tiny import ODD, appending, overflowing


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


OTHER_LANGUAGES = [
    "पानी जो जम गया",
    "猫が寝ています。",
    "Un été très chaud.",
    "A dog barks at night.",
    "Он едет домой.",
]


def test_an_answer_is_a_word_in_the_script_of_its_sentence(tiny: Callable[[str], Path]) -> None:
    # Models with random weights would generate letters of any script.
    for kind in ("llama", "llama-sentencepiece"):
        labeler = LocalLabeler(str(tiny(kind)), device="cpu", precision="fp32")
        labels = labeler.label(OTHER_LANGUAGES)
        assert labels == [labeler.label([text])[0] for text in OTHER_LANGUAGES]
        for label, sentence in zip(labels, OTHER_LANGUAGES, strict=True):
            assert label is None or clean_word(label.answer) is not None
            assert label is None or is_in_script_of(label.answer, sentence)
        assert labels[3] is not None


class Tokenizer:
    """Has one token for each text of a list."""

    all_special_ids = (0,)

    def __init__(self, *texts: str) -> None:
        self.texts = ["</s>", *texts]

    def __len__(self) -> int:
        return len(self.texts)

    def batch_decode(self, rows: list[list[int]]) -> list[str]:
        return [self.decode(row) for row in rows]

    def decode(self, row: list[int], *, skip_special_tokens: bool = False) -> str:
        return "".join(self.texts[token] for token in row if token or not skip_special_tokens)


def test_tokens_are_allowed_by_the_script_of_each_sentence() -> None:
    tokenizer = Tokenizer("dog", " dog", "-", "猫", "の", "क", "ि", "\ufffd", "'", '"', "3", "é")
    one_word = OneWord(tokenizer)  # type: ignore[arg-type]
    sentences = ["A dog barks.", "猫がいる。", "वह घर है।", "Un été chaud"]

    def allowed(length: int) -> list[str]:
        scores = one_word(torch.zeros(4, length, dtype=torch.long), torch.zeros(4, len(tokenizer)))
        return [
            "".join(tokenizer.texts[token] for token in row.isfinite().nonzero()) for row in scores
        ]

    assert one_word.start(sentences, begin=5) == 32
    assert allowed(5) == ["dogé", "猫の\ufffd", "क\ufffd", "dog\ufffdé"]
    assert allowed(6) == ['dog-"é', "-猫の\ufffd'\"", "-कि\ufffd'\"", "dog-\ufffd'\"é"]
    assert one_word.start(sentences[:1], begin=5) == 8


def test_a_word_that_is_not_closed_ends_where_that_is_most_probable() -> None:
    tokenizer = Tokenizer("dog", "猫", '"', "\ufffd", "。")
    one_word = OneWord(tokenizer)  # type: ignore[arg-type]
    one_word.start(["猫がいる。"] * 5, begin=1)
    output = torch.tensor(
        [
            [9, 2, 2, 2, 3],
            [9, 2, 2, 2, 2],
            [9, 2, 2, 4, 4],
            [9, 4, 4, 4, 4],
            [9, 2, 5, 2, 2],
        ]
    )
    for step, closing in enumerate((0.0, 1.0, 2.0, 1.5)):
        scores = torch.zeros(5, len(tokenizer))
        scores[:, 3] = closing
        one_word(output[:, : step + 1], scores)
    # Closed; closed too late; after an incomplete letter; no letter; before punctuation.
    assert one_word.words(output) == ["猫猫猫", "猫猫", "猫猫", None, "猫"]


def test_the_word_of_a_sentence_in_ascii_is_truncated() -> None:
    tokenizer = Tokenizer("dog", '"')
    one_word = OneWord(tokenizer)  # type: ignore[arg-type]
    one_word.start(["A dog barks."], begin=1)
    assert one_word.words(torch.tensor([[9, *[1] * 10]])) == ["dog" * 8]


def test_scores_of_tokens_that_are_not_finite_are_refused(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    model = str(overflowing(tiny("llama"), tmp_path / "model"))
    sentences = ["A dog barks at night.", f"Some {ODD} text."]
    labeler = LocalLabeler(model, precision="fp16", device="cpu")
    reason = f"the next token of 'Some {ODD} text.' is not finite at the last layer in fp16; use"
    with pytest.raises(NotFiniteError, match=reason):
        labeler.label(sentences)
    assert labeler.label(sentences[:1])[0]
    assert all(LocalLabeler(model, precision="fp32", device="cpu").label(sentences))
