from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest

from demosearch.candidates import CandidateSettings, NoCandidatesError, generate
from demosearch.errors import UserError
from tests.chat_server import FakeChatServer

DICTIONARY = CandidateSettings(labeler="none", dictionary="starter", n_dictionary=40)


def test_dictionary_pairs_are_balanced_and_seeded() -> None:
    first, again = generate(DICTIONARY), generate(DICTIONARY)
    other = generate(DICTIONARY, seed=1)
    assert first.candidates == again.candidates != other.candidates
    assert Counter(candidate.pos for candidate in first.candidates) == {
        "noun": 10,
        "verb": 10,
        "adjective": 10,
        "adverb": 10,
    }
    assert first.sources == {"starter": 40}


def test_forbidden_sentences_are_rejected() -> None:
    leaked = generate(DICTIONARY).candidates[0].sentence
    generated = generate(DICTIONARY, forbidden=[leaked.upper()])
    assert leaked not in [candidate.sentence for candidate in generated.candidates]
    assert generated.rejected["sentence of a dev or test set"] == 1
    assert len(generated.candidates) == 40


def test_fewer_candidates_than_requested_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        generate(DICTIONARY.model_copy(update={"n_dictionary": 1000}))
    assert "starter gave only 247 of 1000 candidates" in caplog.text


def test_settings_that_ask_for_no_candidates_are_an_error() -> None:
    with pytest.raises(UserError, match="no candidate was built"):
        generate(CandidateSettings(labeler="none", dictionary="none"))


# Headword and definition.
DICTIONARIES = {
    "Hindi": [("किताब", "छपे हुए पन्नों का संग्रह"), ("घर", "जहाँ लोग रहते हैं"), ("बर्फ", "जमा हुआ पानी है")],
    "Japanese": [("図書館", "本を集めて貸し出す施設"), ("氷", "水が冷えて固まったもの")],
    "Chinese": [("图书馆", "收藏图书供人阅读的地方"), ("冰", "水在低温下凝结成的固体")],
    "Thai": [("หนังสือ", "กระดาษที่เย็บรวมกันเป็นเล่ม"), ("น้ำแข็ง", "น้ำที่แข็งตัวเพราะความเย็น")],
    "Khmer": [("ទឹកកក", "ទឹកដែលកកដោយសារត្រជាក់")],
    "Burmese": [("ရေခဲ", "အေး၍ခဲနေသောရေ")],
    "Tamil": [("புத்தகம்", "அச்சிடப்பட்ட தாள்களின் தொகுப்பு"), ("வீடு", "மக்கள் வசிக்கும் இடம்")],
    "Arabic": [("كِتَابٌ", "مَجْمُوعَةٌ مِنَ الأَوْرَاقِ المَطْبُوعَةِ")],
    "Hebrew": [("סֵפֶר", "דַּפִּים מֻדְפָּסִים וּכְרוּכִים יַחַד")],
    "Persian": [("می‌خواهد", "کسی که چیزی را می‌طلبد")],
    "Korean": [("얼음", "물이 얼어서 굳어진 것")],
    "French": [("re\u0301veil", "une horloge qui sonne le matin"), ("L’école", "un lieu où l’on apprend")],
    "Vietnamese": [("nhà", "nơi mọi người sinh sống")],
    "Ukrainian": [("м'яч", "кругла річ для гри")],
}  # fmt: skip


@pytest.mark.parametrize("language", DICTIONARIES)
def test_every_pair_of_a_dictionary_in_another_language_is_a_candidate(
    language: str, tmp_path: Path
) -> None:
    pairs = DICTIONARIES[language]
    lines = ["word\tdefinition", *("\t".join(pair) for pair in pairs)]
    (tmp_path / "d.tsv").write_text("\n".join(lines) + "\n")
    generated = generate(CandidateSettings(labeler="none", dictionary=str(tmp_path / "d.tsv")))
    assert generated.rejected == {}
    # The text is kept as it is, except for the capital and the final full stop.
    assert {
        (candidate.word.casefold(), candidate.sentence) for candidate in generated.candidates
    } == {(word.casefold(), f"{definition}.") for word, definition in pairs}


def test_sentences_without_blanks_are_labeled(server: FakeChatServer, tmp_path: Path) -> None:
    words = {
        "二匹の猫がソファで寝ています。": "猫",
        "男性が公園を歩いています。": "散歩",
        "子供が砂の城を作っています。": "遊び",
    }
    server.answers = {sentence: [word] for sentence, word in words.items()}
    (tmp_path / "s.txt").write_text("\n".join(words))
    generated = generate(
        CandidateSettings(labeler="openai", sentences=str(tmp_path / "s.txt"), dictionary="none")
    )
    assert {row.sentence: row.word for row in generated.candidates} == {
        f"{sentence}.": word for sentence, word in words.items()
    }
    assert generated.rejected == {}


def test_an_empty_result_names_its_reasons(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("word,definition\ntwo words,a b c\nA,b c\nB,c d\n")
    settings = CandidateSettings(labeler="none", dictionary=str(tmp_path / "d.csv"))
    with pytest.raises(
        NoCandidatesError,
        match=r"^no candidate was built, because every pair was rejected: not 3 to 40 words long \(2\),"
        r" not a single word \(1\)$",
    ) as error:
        generate(settings)
    assert [rejection.word for rejection in error.value.rejections if rejection.word != "A"]
    assert len(error.value.rejections) == 3
