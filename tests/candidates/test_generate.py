from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from demosearch.candidates import Candidate, CandidateSettings, generate, local
from demosearch.candidates.generate import read_sentences, resolved
from demosearch.candidates.labeling import clean_word
from demosearch.candidates.local import LocalLabeler
from demosearch.errors import UserError
from demosearch.models import memory

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


def test_pairs_like_the_best_come_from_the_same_sources_in_the_same_proportion() -> None:
    models = [one for one in generate(DICTIONARY).candidates if one.pos == "adverb"][:2]
    settings = DICTIONARY.model_copy(update={"n_dictionary": 12})
    found = generate(settings, like=models).candidates
    assert {one.pos for one in found} == {"adverb"}
    assert found == generate(settings, like=models).candidates
    again = generate(settings, like=models, known=found).candidates
    assert not {one.id for one in again} & {one.id for one in found}
    assert all(one.sentence not in {model.sentence for model in models} for one in found)


def test_nothing_left_that_is_like_the_best_is_no_error() -> None:
    everything = generate(DICTIONARY.model_copy(update={"n_dictionary": 1000})).candidates
    assert generate(DICTIONARY, like=everything[:2], known=everything).candidates == []


def test_the_local_labeler_is_given_sentences_like_the_best(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    lines = ["The horse ran over the wide green field", "A man plays the guitar on a stage"] * 3
    lines = [f"{line} {number}" for number, line in enumerate(lines)]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines))
    settings = CandidateSettings(
        labeler="local", sentences=str(path), n_sentences=3, dictionary="none", quality=False
    )
    model = Candidate(sentence="Two horses run in a field.", word="Riding", source="local:other")
    found = generate(settings, model=str(tiny("llama")), like=[model]).candidates
    assert len(found) == 3
    assert all("horse" in one.sentence for one in found)


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

    def load(*_: object, devices: object, **__: object) -> None:
        given.append(devices)

    monkeypatch.setattr(local, "load", load)
    assert LocalLabeler(str(tiny("llama")), devices=["cuda:0", "cuda:1"]).loaded is None
    assert given == [["cuda:0"] if room else ["cuda:0", "cuda:1"]]


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
