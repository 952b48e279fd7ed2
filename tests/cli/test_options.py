from __future__ import annotations

from pathlib import Path

import pytest

from demosearch.candidates import CandidateSettings
from demosearch.cli.app import build_app, parse
from demosearch.cli.commands import COMMANDS
from demosearch.cli.options import ModelOptions, given
from demosearch.models.options import LoadOptions
from demosearch.selection.settings import SearchSettings


def option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


@pytest.mark.parametrize(
    ("command", "models"),
    [
        ("run", [SearchSettings, LoadOptions]),
        ("search", [SearchSettings, LoadOptions]),
        ("candidates", [CandidateSettings, LoadOptions]),
        ("embed", [LoadOptions]),
        ("evaluate", [LoadOptions]),
    ],
)
def test_each_field_of_the_settings_is_an_option_with_its_help(
    command: str, models: list[type[SearchSettings]]
) -> None:
    arguments = build_app()[command].assemble_argument_collection()
    helps = {name: argument.parameter.help for argument in arguments for name in argument.names}
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description
            assert helps[option(name)] == field.description


def test_only_quality_cache_and_postprocess_have_a_negative_option() -> None:
    app = build_app()
    names: set[str] = set()
    for command in (command.name for command in COMMANDS):
        # Within the stack of the program, whose defaults apply to all commands.
        with app.app_stack([command]):
            arguments = app[command].assemble_argument_collection()
        names.update(name for argument in arguments for name in argument.names)
    assert "--warm-start" in names
    negative = {name for name in names if name.startswith(("--no-", "--empty-"))}
    assert negative == {"--no-quality", "--no-cache", "--no-postprocess"}


def test_only_options_that_were_typed_are_given() -> None:
    _, arguments = parse(
        [
            "run",
            "--model",
            "a",
            "b",
            "--shots",
            "1",
            "--warm-start",
            "x.json",
            "y.json",
            "--dev",
            "d",
            "--set",
            "seed=3",
            "--set",
            "x=1",
            "--layer",
            "last",
            "--set",
            "z=2",
        ]
    )
    values = arguments.arguments
    assert values["model"] == ["a", "b"]
    assert given(values["search"]) == {
        "shots": 1,
        "warm_start": ("x.json", "y.json"),
        "layer": "last",
    }
    assert given(values["sets"]) == {"dev": "d"}
    assert "load" not in values or not given(values["load"])
    assert values["changes"] == ("seed=3", "x=1", "z=2")


def test_values_that_begin_with_a_hyphen_are_read() -> None:
    _, arguments = parse(["embed", "--model", "m", "--layer", "-2", "-", "--out", "v.npy"])
    assert arguments.arguments["source"] == "-"
    assert arguments.arguments["out"] == Path("v.npy")
    assert arguments.arguments["model"].layer_index == -2


def test_the_last_layer_is_an_index_only_where_a_model_is_loaded() -> None:
    assert ModelOptions(layer="last").layer_index == -1
    assert ModelOptions().layer_index is None
    assert SearchSettings(layer="last").layer == "last"
