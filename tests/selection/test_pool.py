from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from demosearch import Prompt, search
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.selection.configurations import ConfigurationFactory
from demosearch.selection.pool import CandidatePool
from demosearch.templates import TEMPLATES
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES

pytestmark = pytest.mark.usefixtures("fewer_resamples", "in_memory")


def test_dev_and_test_sentences_never_become_demonstrations(tmp_path: Path) -> None:
    leaking = [
        Demonstration(sentence="FIRST 0 7.", word="W1"),
        Demonstration(sentence="Held out.", word="W2"),
    ]
    result = search(
        FakeEncoder(),
        [*fake_candidates(NOISES), *leaking],
        DEV,
        folder=tmp_path,
        exclude=["held out"],
    )
    assert result.skipped == 2
    assert result.file.demonstrations[0].word == "W5"
    with pytest.raises(UserError, match="every candidate's sentence is in the dev or test set"):
        search(FakeEncoder(), leaking[:1], DEV, folder=tmp_path / "none")


def test_a_dev_sentence_is_recognized_without_its_full_stop(tmp_path: Path) -> None:
    leaking = [Demonstration(sentence=DEV.sentences1[0].upper(), word="W1", source="me")]
    assert not leaking[0].sentence.endswith(".")
    result = search(FakeEncoder(), [*leaking, *fake_candidates(NOISES)], DEV, folder=tmp_path)
    assert result.skipped == 1


def test_a_dev_sentence_is_recognized_in_another_spelling(tmp_path: Path) -> None:
    dev = replace(
        DEV, sentences1=("Un été très chaud", "二匹の猫が寝ている。", *DEV.sentences1[2:])
    )
    leaking = [
        Demonstration(sentence=unicodedata.normalize("NFD", "Un été très chaud!"), word="W1"),
        Demonstration(sentence="二匹の猫が寝ている.", word="W2"),
    ]
    pool = CandidatePool(ConfigurationFactory(Prompt(), FakeEncoder().prompt_tokens), [], dev, ())
    pool.add([*leaking, *fake_candidates(NOISES)])
    assert pool.skipped == 2


def test_a_search_without_candidates_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one candidate is required"):
        search(FakeEncoder(), [], DEV, folder=tmp_path)


class Worded(FakeEncoder):
    """An encoder for which the template `knowledge` is better than the others."""

    def noise(self, prompt: Prompt, noises: list[float]) -> float:
        return noises[0] * (0.5 if prompt.template.name == "knowledge" else 1)


def test_the_template_is_chosen_with_the_demonstration(tmp_path: Path) -> None:
    file = search(
        Worded(),
        fake_candidates([40, 50, 60]),
        DEV,
        folder=tmp_path,
        template="prompteol,knowledge,echo",
    ).file
    assert file.prompts[0].template == "knowledge"
    assert file.prompts[0].query == TEMPLATES["knowledge"].query
    assert file.demonstrations[0].word == "W40"
    table = pd.read_csv(tmp_path / "trials.csv")
    # Three candidates under two templates, two templates without candidates, and the baseline.
    assert len(table) == 3 * 2 + 2 + 1
    templates_alone = table[table["candidate"].isin(["none@knowledge", "none@echo"])]
    assert sorted(templates_alone["template"]) == ["echo", "knowledge"]
    assert file.ranking[0].template == "knowledge"
    assert file.ranking[0].id == f"{file.demonstrations[0].id}@knowledge"
