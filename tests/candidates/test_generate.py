from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from demosearch.candidates import CandidateSettings, generate, local
from demosearch.candidates.generate import read_sentences, resolved
from demosearch.candidates.labeling import clean_word
from demosearch.candidates.local import LocalLabeler
from demosearch.errors import UserError
from demosearch.models import memory
from demosearch.models.options import LoadOptions

DICTIONARY = CandidateSettings(labeler="none", dictionary="starter", n_dictionary=40)


def test_dictionary_pairs_are_balanced_and_seeded() -> None:
    first, again = generate(DICTIONARY), generate(DICTIONARY)
    other = generate(DICTIONARY, seed=1)
    assert first.candidates == again.candidates != other.candidates
    assert Counter(one.pos for one in first.candidates) == {
        "noun": 10,
        "verb": 10,
        "adjective": 10,
        "adverb": 10,
    }
    assert first.sources == {"starter": 40}


def test_forbidden_sentences_are_refused() -> None:
    leaked = generate(DICTIONARY).candidates[0].sentence
    generated = generate(DICTIONARY, forbidden=[leaked.upper()])
    assert leaked not in [one.sentence for one in generated.candidates]
    assert generated.rejected["sentence of a dev or test set"] == 1
    assert len(generated.candidates) == 40


def test_fewer_than_asked_for_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        generate(DICTIONARY.model_copy(update={"n_dictionary": 1000}))
    assert "starter gave 247 candidates of the 1000 asked for" in caplog.text


def test_nothing_asked_for_is_an_error() -> None:
    with pytest.raises(UserError, match="no candidate was built"):
        generate(CandidateSettings(labeler="none", dictionary="none"))


def test_the_local_labeler_says_what_the_model_says(tiny: Callable[[str], Path]) -> None:
    labeler = LocalLabeler(str(tiny("llama")), device="cpu")
    sentences = ["A dog barks at night.", "Rain fell on the town."]
    together = labeler.label(sentences)
    # A batch is padded; padding must not change what is said.
    assert together == [labeler.label([text])[0] for text in sentences]


@pytest.mark.parametrize("room", [1 << 50, 0])
def test_the_local_labeler_takes_one_device_where_that_has_room(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: room)
    given: list[object] = []

    def load(_: object, options: LoadOptions, **__: object) -> None:
        given.append((options.device, options.device_names))

    monkeypatch.setattr(local, "load", load)
    assert LocalLabeler(str(tiny("llama")), devices=["cuda:0", "cuda:1"]).loaded is None
    assert given == [("cuda:0", None) if room else (None, ["cuda:0", "cuda:1"])]


def test_the_local_labeler_can_say_only_one_word(tiny: Callable[[str], Path]) -> None:
    # Seeded weights would say anything at all.
    for kind in ("llama", "opt", "llama-sentencepiece"):
        found = LocalLabeler(str(tiny(kind)), device="cpu").label(
            ["A dog barks at night.", "Rain fell on the town.", "Stocks fell."]
        )
        assert all(label is not None and clean_word(label.answer) for label in found)


def test_auto_means_the_local_model_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved(CandidateSettings(), None).labeler == "local"
    assert resolved(CandidateSettings(), None).sentences == "starter"
    assert resolved(CandidateSettings(), None, hub=True).sentences == "stsb-train"
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert resolved(CandidateSettings(), None).labeler == "openai"


@pytest.mark.data
def test_auto_draws_from_stsb_train_where_it_is(data: Path) -> None:
    assert resolved(CandidateSettings(), str(data)).sentences == "stsb-train"
    assert len(read_sentences("stsb-train", str(data))) > 10000


def test_sentences_from_text_and_tables(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("One here.\n\nTwo here.\nOne here.\n")
    (tmp_path / "s.jsonl").write_text('{"text": "One here."}\n{"sentence": "Two here."}\n')
    for name in ("s.txt", "s.jsonl"):
        assert read_sentences(str(tmp_path / name), None) == ["One here.", "Two here."]
    assert len(read_sentences("starter", None)) >= 100
    (tmp_path / "e.txt").write_text("\n")
    with pytest.raises(UserError, match="holds no sentence"):
        read_sentences(str(tmp_path / "e.txt"), None)
    with pytest.raises(UserError, match="cannot read"):
        read_sentences(str(tmp_path / "none.txt"), None)
