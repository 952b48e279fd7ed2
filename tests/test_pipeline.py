from __future__ import annotations

import pytest

from demosearch.errors import UserError
from demosearch.pipeline import load_pipeline, pipeline_names


def test_shipped_pipelines_are_valid_and_described() -> None:
    assert pipeline_names() == ["finetune", "paper", "quickstart"]
    for name in ("paper", "quickstart"):
        assert load_pipeline(name).description
    paper = load_pipeline("paper")
    assert (paper.candidates.n_sentences, paper.candidates.n_dictionary) == (100, 200)
    assert (paper.dev, paper.test, paper.layer) == ("stsb", "stsb", None)


def test_a_dev_set_of_ones_own_drops_the_pipelines_test_set() -> None:
    assert load_pipeline("paper", dev="mine.csv").test is None
    assert load_pipeline("paper", dev="mine.csv", test="t.csv").test == "t.csv"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("nope", [], "unknown pipeline 'nope'; known: finetune, paper, quickstart"),
        ("paper", ["seed"], "--set seed: write key=value"),
        ("paper", ["candidates.n_sentences=many"], "candidates.n_sentences must be an integer"),
        ("paper", ["no_such=1"], "unknown setting 'no_such'"),
        ("paper", ["seed=[1"], "--set seed=[1 is not YAML"),
        ("paper", ["seed.deep=1"], "'seed' holds no settings"),
        ("paper", ["strategy=guess"], "strategy must be race or exhaustive but got 'guess'"),
        ("none.yaml", [], "cannot read pipeline none.yaml"),
    ],
)
def test_wrong_settings_are_named(name: str, changes: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_pipeline(name, changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
