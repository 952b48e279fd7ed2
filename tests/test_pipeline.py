from __future__ import annotations

from pathlib import Path

import pytest

from demosearch.errors import UserError
from demosearch.finetune.settings import FinetuneSettings
from demosearch.pipeline import load_finetuning, load_pipeline, pipeline_names


def test_shipped_pipelines_are_valid_and_described() -> None:
    assert pipeline_names() == ["best", "finetune", "paper", "quickstart"]
    for name in ("best", "paper", "quickstart"):
        assert load_pipeline(name).description
    paper = load_pipeline("paper")
    assert (paper.candidates.n_sentences, paper.candidates.n_dictionary) == (100, 200)
    assert (paper.dev, paper.test, paper.layer) == ("stsb", "stsb", "last")


def test_another_dev_set_drops_the_test_set_of_the_pipeline() -> None:
    assert load_pipeline("paper", dev="mine.csv").test is None
    assert load_pipeline("paper", dev="mine.csv", test="t.csv").test == "t.csv"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("nope", [], "unknown pipeline 'nope'; known: best, finetune, paper, quickstart"),
        (
            "paper",
            ["seed"],
            "--set must be key=value, e.g. candidates.n_sentences=50, but got seed",
        ),
        (
            "paper",
            ["candidates.n_sentences=many"],
            "--set candidates.n_sentences: must be an integer but got 'many'",
        ),
        ("paper", ["no_such=1"], "--set no_such: unknown setting"),
        ("paper", ["seed=[1"], "--set seed=[1 is not YAML"),
        ("paper", ["seed.deep=1"], "--set seed.deep: seed is not a group of settings"),
        ("paper", ["strategy=guess"], "--set strategy: must be race or exhaustive but got 'guess'"),
        ("paper", ["candidates=3"], "--set candidates: must be a mapping but got 3"),
        ("none.yaml", [], "cannot read pipeline none.yaml"),
    ],
)
def test_a_wrong_change_is_named(name: str, changes: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_pipeline(name, changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_setting_is_named_by_where_it_was_set(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("dev: starter\nshots: 0\n")
    rule = "must be an integer >= 1 but got"
    for changes, options, message in (
        ([], {}, f"pipeline {path}: shots {rule} 0"),
        ([], {"shots": -1}, f"shots {rule} -1"),
        (["shots=-2"], {"shots": 1}, f"--set shots: {rule} -2"),
        (["seed=1"], {}, f"pipeline {path}: shots {rule} 0"),
    ):
        with pytest.raises(UserError) as error:
            load_pipeline(str(path), changes, **options)
        assert str(error.value) == message
    assert load_pipeline(str(path), ["shots=3"], shots=2).shots == 3
    assert load_pipeline(str(path), shots=2).shots == 2


def test_the_last_layer_is_a_word_in_every_form() -> None:
    for settings in (
        load_pipeline("paper"),
        load_pipeline("paper", ["layer=last"]),
        load_pipeline("paper", ["layer=null"]),
        load_pipeline("paper", layer="last"),
    ):
        assert settings.model_dump(mode="json")["layer"] == "last"


def test_the_settings_of_a_finetuning_are_read_and_checked() -> None:
    assert load_finetuning("finetune").precision == "nf4"
    assert load_finetuning("finetune", precision="fp32").precision == "fp32"
    assert load_finetuning("finetune", ["lora_r=8"]).lora_r == 8
    with pytest.raises(UserError, match="pipeline 'paper' is a pipeline of `demosearch run`"):
        load_finetuning("paper")


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e999"])
def test_a_setting_that_is_not_finite_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "mine.yaml"
    for name in ("learning_rate", "temperature", "lora_dropout"):
        path.write_text(f"command: finetune\n{name}: {value}\n")
        rule = rf"{name} must be a finite number but got '?-?(inf|nan|1e999)'?$"
        with pytest.raises(UserError, match=rule):
            load_finetuning(str(path))
        with pytest.raises(UserError, match=f"^--set {name}: must be a finite number but got"):
            load_finetuning("finetune", [f"{name}={value}"])
    with pytest.raises(UserError, match=r"^--set candidates.max_cost: must be a finite number"):
        load_pipeline("paper", [f"candidates.max_cost={value}"])
    with pytest.raises(UserError, match=r"^learning_rate must be a finite number but got"):
        FinetuneSettings.of(
            learning_rate=float(value.replace(".", "", 1) if "." in value else value)
        )
