from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from demosearch.candidates import Candidate, CandidateSettings, generate
from demosearch.candidates.quality import (
    promising_first,
    with_word_frequency,
    with_word_log_probability,
)
from demosearch.errors import NotFiniteError
from demosearch.models.known import Precision, resolve
from demosearch.models.loading import load
from tests.tiny import ODD, appending, overflowing

CANDIDATES = [
    Candidate(sentence="A jockey riding a horse.", word="Equestrian"),
    Candidate(sentence="meat from a deer.", word="Venison"),
    Candidate(sentence="a much longer definition of something that is not short.", word="Long"),
]


@pytest.mark.parametrize("kind", ["llama", "opt", "llama-sentencepiece", "qwen3"])
def test_word_log_probability_is_the_sum_over_its_tokens(
    tiny: Callable[[str], Path], kind: str
) -> None:
    loaded = load(resolve(str(tiny(kind))), precision=Precision.FP32, device="cpu", head=True)
    candidates = with_word_log_probability(CANDIDATES, loaded)
    model = AutoModelForCausalLM.from_pretrained(tiny(kind), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny(kind))
    for candidate in candidates:
        question = f'This sentence : "{candidate.sentence}" means in one word:"'
        whole = tokenizer(f'{question}{candidate.word}"', return_tensors="pt").input_ids
        before = len(tokenizer(question).input_ids)
        with torch.inference_mode():
            steps = model(input_ids=whole).logits[0, :-1].log_softmax(-1)
        picked = steps[range(before - 1, whole.shape[1] - 1), whole[0, before:]]
        assert candidate.word_log_probability == pytest.approx(float(picked.sum()), abs=1e-3)


def test_the_frequency_of_a_word_is_its_zipf_frequency() -> None:
    horse, rare = with_word_frequency(
        [Candidate(sentence="x", word="Horse"), Candidate(sentence="x", word="Equestrian")]
    )
    assert horse.zipf is not None
    assert rare.zipf is not None
    assert 4 < horse.zipf < 6
    assert rare.zipf < 4
    kept = with_word_frequency([Candidate(sentence="x", word="Horse", zipf=1.5)])
    assert kept[0].zipf == 1.5


def test_a_frequency_belongs_to_the_language_of_the_word() -> None:
    def zipf(word: str, language: str | None) -> float | None:
        (candidate,) = with_word_frequency([Candidate(sentence="x", word=word)], language)
        return candidate.zipf

    # An English list says 0 for these words.
    assert zipf("किताब", None) is None
    assert zipf("図書館", None) is None
    hindi = zipf("किताब", "hi")
    assert hindi is not None
    assert hindi > 3
    # There is no list of Thai words.
    assert zipf("บ้าน", "th") is None


def test_japanese_frequencies_require_a_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)
    candidates = [Candidate(sentence="x", word="図書館")]
    assert with_word_frequency(candidates, "ja") == candidates


def test_the_generator_adds_quality_scores_if_a_model_is_given(tiny: Callable[[str], Path]) -> None:
    settings = CandidateSettings(labeler="none", dictionary="starter", n_dictionary=4)
    model = str(tiny("llama"))
    for candidate in generate(settings, model=model, device="cpu").candidates:
        assert candidate.word_log_probability is not None
        assert candidate.word_log_probability < 0
        assert candidate.words == len(candidate.sentence.split())
    without = generate(settings.model_copy(update={"quality": False}), model=model)
    assert all(candidate.word_log_probability is None for candidate in without.candidates)


def test_the_promising_candidates_of_each_source_come_first() -> None:
    def pair(words: int) -> Candidate:
        return Candidate(
            sentence="word " * (words - 1) + "end.", word=f"P{words}", source="wordnet"
        )

    def labeled(name: str, expected: float | None, in_sentence: bool = False) -> Candidate:
        return Candidate(
            sentence=f"A sentence for {name}.",
            word=name,
            source="local:m",
            word_log_probability=expected,
            word_in_sentence=in_sentence,
        )

    ordered = promising_first(
        [
            pair(3),
            labeled("A", -2.0),
            pair(9),
            labeled("B", -9.0),
            pair(5),
            pair(6),
            labeled("C", -5.0),
        ]
    )
    assert [candidate.word for candidate in ordered] == ["B", "P9", "C", "P6", "A", "P3", "P5"]
    unknown = [labeled("A", None, in_sentence=True), labeled("B", None), labeled("C", None)]
    assert [candidate.word for candidate in promising_first(unknown)] == ["B", "C", "A"]


def test_an_end_token_that_the_tokenizer_appends_changes_nothing(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = appending(tiny("llama"), tmp_path / "model", "<s> ")
    plain, other = (
        with_word_log_probability(
            CANDIDATES, load(resolve(str(name)), precision="fp32", device="cpu", head=True)
        )
        for name in (tiny("llama"), folder)
    )
    assert plain == other


def test_short_definitions_are_short_in_the_unit_of_their_script() -> None:
    short, long = (
        Candidate(sentence=text, word="氷", source="dictionary:ja")
        for text in ("冷えた水。", "水がとても冷えて固まったもの。")
    )
    assert promising_first([short, long]) == [long, short]


def test_a_log_probability_that_is_not_finite_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    model = str(overflowing(tiny("llama"), tmp_path / "model"))
    loaded = load(resolve(model), precision=Precision.FP16, device="cpu", head=True)
    odd = Candidate(sentence=f"Some {ODD} text.", word="Odd")
    assert all(
        candidate.word_log_probability
        for candidate in with_word_log_probability(CANDIDATES, loaded)
    )
    reason = (
        f"the probability of 'Odd' as the word of '{odd.sentence}' is not finite at the last layer"
    )
    with pytest.raises(NotFiniteError, match=reason):
        with_word_log_probability([*CANDIDATES, odd], loaded)
