"""The language of a sentence and of a labeler's answer."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from py3langid import langid

from demosearch.candidates import CandidateSettings, generate
from demosearch.candidates.chat import ChatLabeler, ChatSettings
from demosearch.candidates.labeling import Label
from demosearch.candidates.language import LanguageCheck, is_in_script_of
from demosearch.errors import UserError
from tests.chat_server import FakeChatServer

ENGLISH = "A jockey rides a horse."
JAPANESE = "騎手が馬に乗っています。"
CHINESE = "一个男人在公园里骑自行车。"
HINDI = "पानी जो ठंड से जम गया हो।"


@pytest.mark.parametrize(
    ("word", "sentence", "accepted"),
    [
        ("Riding", ENGLISH, True),
        ("Réveil", ENGLISH, True),
        ("骑马", ENGLISH, False),
        ("Верховая", ENGLISH, False),
        ("घुड़सवारी", ENGLISH, False),
        # A Cyrillic letter that looks like a Latin one.
        ("R\u0456ding", ENGLISH, False),
        ("騎手", JAPANESE, True),
        ("スポーツ", JAPANESE, True),
        ("のりもの", JAPANESE, True),
        ("Tシャツ", JAPANESE, True),
        ("Sport", JAPANESE, False),
        ("스포츠", JAPANESE, False),
        ("运动", CHINESE, True),
        ("X光", CHINESE, True),
        ("スポーツ", CHINESE, False),
        ("Sport", CHINESE, False),
        ("बर्फ", HINDI, True),
        ("Ice", HINDI, False),
        ("برف", HINDI, False),
        ("Спорт", "Мужчина едет на велосипеде.", True),
        ("IT-сектор", "Мужчина работает в офисе.", True),
        ("Sport", "Мужчина едет на велосипеде.", False),
        # Names and loan words.
        ("DVD", "昨日DVDを見ました。", True),
        ("Movie", "昨日DVDを見ました。", False),
        ("出口", "The sign at the door says 出口 in red.", True),
        ("红色", "The sign at the door says 出口 in red.", False),
        ("책", "한 남자가 공원에서 책을 읽는다.", True),
        ("册", "한 남자가 공원에서 책을 읽는다.", False),
        ("Number", "1 2 3 4", True),
    ],
)
def test_a_word_must_be_in_the_script_of_its_sentence(
    word: str, sentence: str, accepted: bool
) -> None:
    assert is_in_script_of(word, sentence) is accepted


def test_the_chat_model_is_asked_for_a_word_in_the_language_of_the_sentence(
    server: FakeChatServer,
) -> None:
    server.answers = {HINDI: ["बर्फ।"]}
    assert ChatLabeler().label([HINDI]) == [Label("बर्फ")]
    system = server.requests[0]["messages"][0]["content"]
    assert "in the language of the sentence" in system
    assert "English" not in system


def test_a_chinese_answer_to_an_english_sentence_is_rejected(
    server: FakeChatServer, tmp_path: Path
) -> None:
    server.answers = {ENGLISH: ["骑马"], CHINESE: ["运动"], HINDI: ["Ice"], JAPANESE: ["乗馬"]}
    (tmp_path / "s.txt").write_text("\n".join(server.answers))
    generated = generate(
        CandidateSettings(
            labeler="openai",
            sentences=str(tmp_path / "s.txt"),
            n_sentences=4,
            dictionary="none",
            quality=False,
        )
    )
    assert {candidate.word for candidate in generated.candidates} == {"运动", "乗馬"}
    assert generated.rejected == {"word in another script than its sentence": 2}
    assert {rejection.word for rejection in generated.rejections} == {"骑马", "Ice"}


def test_a_vote_in_another_script_lowers_the_agreement(server: FakeChatServer) -> None:
    server.answers = {ENGLISH: ["骑马", "骑马", "骑马", "sport", "Sport."]}
    assert ChatLabeler(ChatSettings(votes=5)).label([ENGLISH]) == [Label("Sport", 0.4)]


def test_a_dictionary_may_explain_the_words_of_another_language(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("word,definition\nlibrary,多くの本を集めて貸し出す施設\n")
    settings = CandidateSettings(labeler="none", dictionary=str(tmp_path / "d.csv"))
    assert [candidate.word for candidate in generate(settings).candidates] == ["Library"]


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UserError, match=r"language must be one of .*, en, .* but got 'xx'"
    ) as error:
        generate(CandidateSettings(labeler="none", dictionary="starter", language="xx"))
    for name in ("EN", "en-US", "english", "zxx", ""):
        with pytest.raises(UserError, match="must be one of"):
            LanguageCheck(name)
    labels = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE).labels
    listed = str(error.value).partition("one of ")[2].partition(" but")[0].split(", ")
    assert {*listed, "zxx"} == set(labels)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("he", "שָׁלוֹם עֲלֵיכֶם וּבְרוּכִים הַבָּאִים"),
        ("ar", "كِتَابٌ جَدِيدٌ عَلَى الطَّاوِلَةِ"),
        ("fa", "او می‌خواهد به خانه برود و بخوابد"),
        ("hi", HINDI),
        ("ja", JAPANESE),
        ("zh", CHINESE),
        ("th", "ผู้ชายขี่จักรยานในสวนสาธารณะ"),
        ("fr", unicodedata.normalize("NFD", "Un garçon mange une pomme à l'école en été.")),
    ],
)
def test_a_sentence_of_the_language_is_not_taken_for_another(language: str, sentence: str) -> None:
    assert not LanguageCheck(language)(sentence)
    assert LanguageCheck("en" if language != "fr" else "de")(sentence)
