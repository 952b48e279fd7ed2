from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

from demosearch import Prompt
from demosearch.selection.configurations import BASELINE, ConfigurationFactory, ConfigurationKey
from demosearch.selection.trials import Outcome, key_of, outcome_of, to_trial
from demosearch.templates import find_template
from tests.fakes import FakeEncoder, fake_candidates

FACTORY = ConfigurationFactory(Prompt(), FakeEncoder().prompt_tokens)
KNOWLEDGE = find_template("knowledge")


@pytest.mark.parametrize(
    ("text", "template", "demonstrations"),
    [
        (BASELINE, "prompteol", ()),
        ("none@knowledge", "knowledge", ()),
        ("12ab", "prompteol", ("12ab",)),
        ("12ab@knowledge", "knowledge", ("12ab",)),
        ("12ab+34cd", "prompteol", ("12ab", "34cd")),
        ("12ab+34cd@knowledge", "knowledge", ("12ab", "34cd")),
    ],
)
def test_the_key_of_a_trial_of_an_earlier_version_is_read_from_its_text(
    text: str, template: str, demonstrations: tuple[str, ...]
) -> None:
    trial = create_trial(
        value=79.5,
        params={"candidate": 3},
        distributions={"candidate": IntDistribution(0, 1_000_000)},
        user_attrs={"candidate": text, "template": template, "pairs": 240},
    )
    assert key_of(trial) == ConfigurationKey(demonstrations, template)
    assert key_of(trial).text(own_template="prompteol") == text


@given(st.integers(1, 30), st.integers(1, 1500), st.integers(0, 1500))
def test_a_trial_holds_its_outcome_exactly(layers: int, pairs: int, begin: int) -> None:
    similarities = np.random.default_rng(pairs).normal(size=(layers, pairs)).astype(np.float32)
    (configuration,) = FACTORY.single(fake_candidates([5]), [])
    outcome = Outcome(similarities, begin, "", {50: 71.25, 70: 70.5}, 3, 140, 1.5)
    trial = to_trial(configuration, 70, outcome, is_last=False)
    assert trial.state.name == "PRUNED"
    assert key_of(trial) == configuration.key
    read = outcome_of(trial)
    np.testing.assert_array_equal(read.similarities, similarities)
    assert (read.begin, read.scores, read.layer) == (begin, outcome.scores, 3)
    assert (read.sentences, read.seconds, read.score) == (140, 1.5, 70.5)
    # The longest text that MySQL's column holds.
    assert max(map(len, trial.system_attrs.values())) <= 65_535


def test_a_failed_outcome_is_a_failed_trial_without_a_value() -> None:
    (configuration,) = FACTORY.single(fake_candidates([5]), [])
    trial = to_trial(configuration, 70, Outcome(None, 0, "too long", {}, 0, 0, 0), is_last=True)
    assert (trial.state.name, trial.value) == ("FAIL", None)
    assert outcome_of(trial).failure == "too long"


def test_a_trial_names_the_demonstrations_and_the_template() -> None:
    first, second = fake_candidates([5, 10])
    prompt = Prompt(KNOWLEDGE, (first,))
    (single,) = (
        configuration
        for configuration in FACTORY.single([first], [KNOWLEDGE])
        if configuration.prompt == prompt
    )
    longer = FACTORY.longer([single], FACTORY.single([second], []))
    for configuration, ids in zip(
        longer, ([second.id, first.id], [first.id, second.id]), strict=True
    ):
        outcome = Outcome(np.zeros((1, 9), dtype=np.float32), 0, "", {9: 50.0}, 1, 18, 0.1)
        attributes = to_trial(configuration, 9, outcome, is_last=True).user_attrs
        assert attributes["demonstration_ids"] == ids
        assert attributes["template"] == "knowledge"
        assert attributes["candidate"] == "+".join(ids) + "@knowledge"
