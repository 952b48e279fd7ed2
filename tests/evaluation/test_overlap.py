from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from demosearch.datasets import Pairs, Split, read_pairs
from demosearch.datasets.classification import Classification, Examples
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile, SetRecord
from demosearch.evaluation import find_overlaps, find_tasks, read_tasks
from demosearch.postprocess import Unlabeled, Whitening
from tests.examples import demonstrations_file
from tests.fakes import fake_pairs, write_fake_pairs


def chosen_on(pairs: Pairs) -> DemonstrationsFile:
    file = demonstrations_file()
    dev = file.dev.model_copy(update={"name": pairs.name, "sha256": pairs.sha256})
    return file.model_copy(update={"dev": dev})


def renamed(pairs: Pairs, name: str) -> Pairs:
    return Pairs(name, pairs.sentences1, pairs.sentences2, pairs.scores)


def test_the_dev_pairs_are_recognized_under_any_name() -> None:
    pairs = renamed(fake_pairs(20), "mine")
    data = {"a": [renamed(pairs, "other")], "b": [renamed(fake_pairs(21), "mine")]}
    assert find_overlaps(chosen_on(pairs), data) == [
        "a: the demonstrations were chosen on it (mine)"
    ]


def test_stsb_in_senteval_s_spelling_is_recognized() -> None:
    file = chosen_on(renamed(fake_pairs(20), "stsb-dev"))
    data = {
        "stsb-dev": [renamed(fake_pairs(21), "stsb-dev-senteval")],
        "stsb": [renamed(fake_pairs(22), "stsb-test-senteval")],
    }
    assert [line.partition(":")[0] for line in find_overlaps(file, data)] == ["stsb-dev"]
    other = chosen_on(renamed(fake_pairs(20), "stsb-dev-senteval"))
    data = {"a": [renamed(fake_pairs(21), "stsb-dev")], "b": [renamed(fake_pairs(22), "mine")]}
    assert [line.partition(":")[0] for line in find_overlaps(other, data)] == ["a"]


def test_pairs_of_stsb_are_recognized_in_other_tasks(tmp_path: Path) -> None:
    dev = read_pairs(write_fake_pairs(tmp_path / "dev.csv", 20), Split.DEV)
    # In another casing, in the other order, and a pair that is not in the dev set.
    same = Pairs(
        "STS12.x",
        (dev.sentences1[0].upper(), dev.sentences2[1], "something"),
        (dev.sentences2[0] + " .", dev.sentences1[1], "else"),
        (1.0, 2.0, 3.0),
    )
    data = {"sts12": [same, fake_pairs(12, 5)]}
    file = chosen_on(renamed(fake_pairs(30, 2), "stsb-dev-senteval"))
    assert find_overlaps(file, data, str(tmp_path)) == [
        "sts12: the demonstrations were chosen on 2 of its 15 pairs (stsb-dev-senteval)"
    ]
    assert find_overlaps(file, data) == []
    assert find_overlaps(file, data, str(tmp_path / "none")) == []


@pytest.mark.data
def test_stsb_overlaps_with_sts12_and_sts13(data: Path) -> None:
    file = chosen_on(renamed(fake_pairs(20), "stsb-dev"))
    tasks = read_tasks(find_tasks("sts12,sts13,stsb,stsb-dev,sickr"), data)
    assert find_overlaps(file, tasks, str(data)) == [
        "sts12: the demonstrations were chosen on 259 of its 3108 pairs (stsb-dev)",
        "sts13: the demonstrations were chosen on 81 of its 1500 pairs (stsb-dev)",
        "stsb-dev: the demonstrations were chosen on it (stsb-dev)",
    ]


def test_a_demonstration_in_a_task_is_reported() -> None:
    texts = ("Something else.", "a jockey riding a horse")
    data = {"mr": Classification("mr", Examples(texts, (0, 1)))}
    assert find_overlaps(demonstrations_file(), data) == [
        "mr: contains the demonstration 'A jockey riding a horse.'"
    ]


def test_each_of_several_dev_sets_is_recognized() -> None:
    sets = [renamed(fake_pairs(20, seed), name) for seed, name in enumerate(("stsb-dev", "mine"))]
    file = chosen_on(Pairs.joined(sets))
    records = [SetRecord(name=pairs.name, pairs=len(pairs), sha256=pairs.sha256) for pairs in sets]
    file = file.model_copy(update={"dev": file.dev.model_copy(update={"sets": records})})
    data = {"a": [renamed(sets[1], "other")], "b": [sets[0]], "c": [fake_pairs(30, 9)]}
    assert find_overlaps(file, data) == [
        "a: the demonstrations were chosen on it (mine)",
        "b: the demonstrations were chosen on it (stsb-dev)",
    ]


def test_a_demonstration_is_recognized_in_another_unicode_form() -> None:
    demonstration = Demonstration(sentence="Un été très chaud.", word="Été")
    file = demonstrations_file(demonstration=demonstration)
    pairs = fake_pairs(12)
    sentences = (unicodedata.normalize("NFD", "UN ÉTÉ TRÈS CHAUD !"), *pairs.sentences1[1:])
    data = {"a": [Pairs("a", sentences, pairs.sentences2, pairs.scores)], "b": [pairs]}
    assert find_overlaps(file, data) == ["a: contains the demonstration 'Un été très chaud.'"]


def test_pairs_that_differ_in_vowel_signs_are_different(tmp_path: Path) -> None:
    rows = [(f"किताब {row}", f"घर {row}", float(row)) for row in range(12)]
    lines = ["sentence1,sentence2,score", *(f"{one},{two},{score}" for one, two, score in rows)]
    (tmp_path / "dev.csv").write_text("\n".join(lines))
    same, other = (
        Pairs(
            "mine",
            tuple(one.replace("किताब", word) for one, _, _ in rows),
            tuple(two for _, two, _ in rows),
            tuple(score + 1 for _, _, score in rows),
        )
        for word in ("किताब", "कातिब")
    )
    file = chosen_on(renamed(fake_pairs(30), "stsb-dev"))
    assert find_overlaps(file, {"a": [same], "b": [other]}, str(tmp_path)) == [
        "a: the demonstrations were chosen on 12 of its 12 pairs (stsb-dev)"
    ]


def test_texts_that_post_processing_was_fitted_on_are_recognized() -> None:
    pairs = fake_pairs(20)
    other = Pairs("other", ("A cat.", "A dog."), ("Cats.", "Dogs."), (4.0, 5.0))
    texts = Unlabeled("lines.txt", [text.upper() for text in pairs.sentences()[:5]])
    embeddings = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    file = demonstrations_file().with_postprocess(Whitening(embeddings, texts).map())
    assert find_overlaps(file, {"a": [pairs], "b": [other]}) == [
        f"a: own texts: post-processing was fitted on 5 of its {len(pairs.sentences())} sentences"
        " (lines.txt), without their scores"
    ]
