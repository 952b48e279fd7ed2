from __future__ import annotations

from demosearch.candidates import Candidate
from demosearch.candidates.dictionary import Entry
from demosearch.candidates.nearby import entries_near, models_of, sentences_near
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import Ranked
from tests.examples import JOCKEY, demonstrations_file

ENTRIES = [
    Entry("Dog", "an animal that barks", "noun", "common", "animal"),
    Entry("Run", "move fast on foot", "verb", "common", "motion"),
    Entry("Cat", "an animal that purrs", "noun", "common", "animal"),
    Entry("Walk", "move slowly on foot", "verb", "common", "motion"),
    Entry("Idea", "the content of a thought that somebody has had", "noun", "rare", "cognition"),
    Entry("Horse", "an animal that is ridden", "noun", "common", "animal"),
]
HORSE = Demonstration(sentence="an animal that is ridden.", word="Horse", source="wordnet")
WALK = Demonstration(sentence="move slowly on foot.", word="Walk", source="wordnet")


def test_entries_of_the_same_topic_part_of_speech_and_length_come_first() -> None:
    found = entries_near(ENTRIES, [HORSE], seed=0)
    assert {entry.word for entry in found[:3]} == {"Horse", "Dog", "Cat"}
    assert sorted(map(str, found)) == sorted(map(str, ENTRIES))


def test_models_take_turns() -> None:
    found = entries_near(ENTRIES, [HORSE, WALK], seed=0)
    assert [entry.topic for entry in found[:4]] == ["animal", "motion"] * 2


def test_a_model_that_is_no_entry_counts_by_its_length() -> None:
    unknown = Demonstration(
        sentence="one two three four five six seven.", word="X", source="starter"
    )
    assert entries_near(ENTRIES, [unknown], seed=0)[0].word == "Idea"


def test_sentences_that_share_rare_words_come_first() -> None:
    sentences = [
        "A man is playing a guitar.",
        "A woman is riding a horse.",
        "The horses are grazing in a field.",
        "A man is slicing potatoes for a stew with carrots and beans and some meat.",
        "A man is reading.",
    ]
    found = sentences_near(sentences, [JOCKEY], seed=0)
    assert found[0] == "A woman is riding a horse."
    assert sorted(found) == sorted(sentences)


def test_the_models_of_a_search_are_its_leading_demonstrations() -> None:
    file = demonstrations_file()
    known = [Candidate(sentence=f"{word} is it.", word=word, source="wordnet") for word in "ABD"]
    together = f"{known[1].id}+{known[0].id}@knowledge"
    rows = [
        (together, "B is it. | A is it.", "B | A"),
        ("c", "C c c.", "C"),
        ("none@other", "", ""),
    ]
    ranking = [
        Ranked(id=name, sentence=sentence, word=word, source="wordnet", spearman=70.0)
        for name, sentence, word in rows
    ]
    file = file.model_copy(update={"ranking": ranking})
    assert [one.word for one in models_of(file, known)] == ["Equestrian", "B", "A", "C"]
    # Nobody knows what stands behind each other.
    assert [one.word for one in models_of(file)] == ["Equestrian", "C"]
