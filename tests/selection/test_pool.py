from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from demosearch import Prompt, search
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
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
    with pytest.raises(UserError, match="every candidate's sentence is one of the dev or test"):
        search(FakeEncoder(), leaking[:1], DEV, folder=tmp_path / "none")


def test_a_sentence_is_one_of_the_sets_without_its_full_stop_too(tmp_path: Path) -> None:
    leaking = [Demonstration(sentence=DEV.sentences1[0].upper(), word="W1", source="me")]
    assert not leaking[0].sentence.endswith(".")
    result = search(FakeEncoder(), [*leaking, *fake_candidates(NOISES)], DEV, folder=tmp_path)
    assert result.skipped == 1


def test_no_candidates_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no candidates to choose among"):
        search(FakeEncoder(), [], DEV, folder=tmp_path)


class Worded(FakeEncoder):
    """The template of knowledge enhancement is the better one, with a demonstration."""

    def noise(self, prompt: Prompt, noises: list[float]) -> float:
        return noises[0] * (0.5 if prompt.template.name == "knowledge" else 1)


def test_the_template_is_chosen_with_the_demonstration(tmp_path: Path) -> None:
    templates = [TEMPLATES["knowledge"], TEMPLATES["echo"]]
    file = search(
        Worded(), fake_candidates([40, 50, 60]), DEV, folder=tmp_path, templates=templates
    ).file
    assert file.prompts[0].template == "knowledge"
    assert file.prompts[0].query == TEMPLATES["knowledge"].query
    assert file.demonstrations[0].word == "W40"
    table = pd.read_csv(tmp_path / "trials.csv")
    # Three candidates under two templates, both other templates alone, and the baseline.
    assert len(table) == 3 * 2 + 2 + 1
    alone = table[table["candidate"].isin(["none@knowledge", "none@echo"])]
    assert sorted(alone["template"]) == ["echo", "knowledge"]
    assert file.ranking[0].template == "knowledge"
    assert file.ranking[0].id == f"{file.demonstrations[0].id}@knowledge"
