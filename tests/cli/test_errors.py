"""Errors of the command line, found without running a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from demosearch.cli.app import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("rnu", "unknown command 'rnu'; did you mean run?"),
        ("publish", "unknown command 'publish'; see `demosearch --help`"),
        ("run --model a --shotz 2", "unknown option --shotz; did you mean --shots?"),
        ("run --modle a", "unknown option --modle; did you mean --model?"),
        ("embed --modle a - --out v.npy", "unknown option --modle; did you mean --model?"),
        ("run --model a --nothing 2", "unknown option --nothing; see `demosearch run --help`"),
        ("run", "--model is required; see `demosearch run --help`"),
        ("run --model", "--model requires a value; see `demosearch run --help`"),
        ("run --model a --out", "--out requires a value; see `demosearch run --help`"),
        ("run --model a --out b --out c", "--out must be given once"),
        ("compare", "RESULT is required; see `demosearch compare --help`"),
        ("embed a b --out v.npy", "unexpected argument 'b'; see `demosearch embed --help`"),
        ("compare a.json --resamples x", "--resamples must be an integer but got 'x'"),
        (
            "compare a.json --table pdf",
            "--table must be markdown, csv, latex or json but got 'pdf'",
        ),
        ("run --model a --json=maybe", "--json must be true or false but got 'maybe'"),
        ("run --model a --no-allow-pickle", "unknown option --no-allow-pickle"),
        ("run --model a --empty-warm-start", "unknown option --empty-warm-start"),
        ("run --model a --rounds 2", "unknown option --rounds"),
        ("--print-completion tcsh", "SHELL must be bash, zsh or fish but got 'tcsh'"),
    ],
)
def test_an_error_of_the_arguments_is_one_line(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(f"demosearch: {message}")


@pytest.mark.parametrize(
    "arguments",
    [
        "search --model a --candidates c.jsonl --dev \udcff.csv --out best.json",
        "candidates --labeler openai --labeler-model \udcff --out c.jsonl",
        "run --model \udcff",
    ],
)
def test_an_argument_that_is_not_utf_8_is_refused_before_the_work(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = next(row for row, part in enumerate(arguments.split(), 1) if "\udcff" in part)
    assert main(arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"demosearch: argument {number} must be valid UTF-8 but got '\\udcff")


@pytest.mark.parametrize("setting", ["shots=0", "max_extra_tokens=-1", "seed=-1", "patience=0"])
def test_a_wrong_setting_is_named_as_the_user_gave_it(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, _, value = setting.partition("=")
    option = f"--{key.replace('_', '-')}"
    path = tmp_path / "mine.yaml"
    path.write_text(f"dev: starter\n{key}: {value}\n")
    run = ["run", "--model", "smollm2-135m", "--dev", "starter"]
    search = ["search", "--model", "smollm2-135m", "--dev", "starter", "--candidates", "c.jsonl"]
    for arguments, name in (
        ([*run, option, value], option),
        ([*search, "--out", "o.json", option, value], option),
        ([*run, "--set", setting], f"--set {key}:"),
        ([*run, "--pipeline", str(path)], f"pipeline {path}: {key}"),
    ):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"demosearch: {name} must be an integer >= ")
        assert line.endswith(f" but got {value}")


@pytest.mark.parametrize(
    "command",
    [
        "embed --model smollm2-135m - --out v.npy",
        "evaluate --model smollm2-135m",
        "finetune --model smollm2-135m --train nli.csv --out a",
    ],
)
def test_commands_that_do_not_choose_the_layer_say_so(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--layer", "auto"]) == 2
    assert capsys.readouterr().err == (
        "demosearch: --layer must be last or an integer but got 'auto'; only run and search choose the"
        " layer\n"
    )
    assert main([*command.split(), "--layer", "first"]) == 2
    assert "--layer must be last or an integer but got 'first'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--show a.jsonl --merge b.jsonl c.jsonl", "--show cannot be combined with --merge"),
        ("--show a.jsonl --out b.jsonl", "--show cannot be combined with --out"),
        ("--show a.jsonl --labeler none", "--show cannot be combined with --labeler"),
        (
            "--merge a.jsonl b.jsonl --out c.jsonl --votes 3 --seed 0 --device cpu",
            "--merge cannot be combined with --device, --votes, --seed",
        ),
    ],
)
def test_candidates_does_one_thing(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["candidates", *arguments.split()]) == 2
    assert capsys.readouterr().err == f"demosearch: {message}\n"
