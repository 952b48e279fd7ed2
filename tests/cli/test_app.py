"""The command line as users run it, in its own process."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demosearch.cli.app import parse
from demosearch.cli.commands import COMMANDS, EXAMPLES
from demosearch.models.known import resolve
from tests.examples import demonstrations_file
from tests.fakes import fake_pairs


def demosearch(
    *arguments: str | Path, stdin: str = "", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-m", "demosearch", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
        timeout=300,
    )


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    pairs = fake_pairs(24)
    rows = zip(pairs.sentences1, pairs.sentences2, pairs.scores, strict=True)
    path = tmp_path / "dev.csv"
    path.write_text("sentence1,sentence2,score\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    return path


@pytest.mark.parametrize("command", [[], *([command.name] for command in COMMANDS)])
def test_help_ends_in_examples(command: list[str]) -> None:
    result = demosearch(*command, "--help")
    assert result.returncode == 0
    assert f"demosearch {' '.join(command)}" in result.stdout.partition("Examples:")[2]


def test_the_program_without_arguments_shows_its_help() -> None:
    result = demosearch()
    assert result.returncode == 0
    assert result.stdout == demosearch("--help").stdout
    for command in COMMANDS:
        assert command.summary[:40] in result.stdout


def test_each_example_of_the_help_is_valid() -> None:
    for line in (*EXAMPLES, *(line for command in COMMANDS for line in command.examples)):
        (ours,) = (part for part in re.split(r"[|>]", line) if "demosearch " in part)
        parse(shlex.split(ours)[1:])
        for name in re.findall(r"--model (\S+/\S+|[a-z][\w.-]+)", ours):
            resolve(name)


IMPORT_SPY = """
import sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers"):
            raise SystemExit(f"imported {name}")
sys.meta_path.insert(0, Spy())
from demosearch.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --model nope", "unknown model 'nope'"),
        ("run --model {model} --pipeline nope", "unknown pipeline 'nope'"),
        ("run --model {model} --dev none.csv", "existing file or folder but got 'none.csv'"),
        (
            "run --model {model} --dev bad.csv",
            "bad.csv, line 3: the score must be a number but got 'x'",
        ),
        ("run --model {model} --dev few.csv", "the number of pairs must be at least 10 but got 1"),
        (
            "run --model {model} --dev flat.csv",
            "the scores must differ, because they are ranked, but all are 2",
        ),
        ("run --model {model} --dev starter --candidates empty.jsonl", "contains no candidates"),
        ("run --model {model} --dev starter --set x=1", "--set x"),
        ("run --model {model} --dev starter --budget soon", "--budget"),
        ("run --model {model} --dev starter --patience 0", "--patience must be an integer >= 1"),
        ("run --model {model} --dev starter --layer x", "--layer must be last"),
        ("run --model {model} --dev starter --template x", "unknown template 'x'"),
        ("search --model {model} --dev starter --candidates none --out o.json", "cannot read"),
        (
            "embed --model {model} none.txt --out v.npy",
            "an existing file, or - for standard input, but got 'none.txt'",
        ),
        ("embed --model {model} bad.csv --out v.txt", ".npy or .parquet"),
        ("embed bad.csv --out v.npy", "--model or --demonstrations is required"),
        ("embed --model {model} --layer auto bad.csv --out v.npy", "only run and search choose"),
        ("embed --demonstrations old.json bad.csv --out v.npy", "old.json: format "),
        ("evaluate --model {model} --tasks glue", "--tasks must be one of sts, transfer, full"),
        ("evaluate --model {model} --data none", "must be an existing SentEval data folder"),
        (
            "evaluate --model {model} --tasks few.csv",
            "the number of pairs must be at least 10 but got 1",
        ),
        ("evaluate --model {model} --tasks stsb", "require a SentEval data folder; set --data"),
        (
            "evaluate --model {model} --tasks dev.csv --out r.txt",
            "must be a file that ends in .json",
        ),
        ("evaluate --model nope --tasks dev.csv", "unknown model 'nope'"),
        (
            "embed --model all-minilm-l6-v2 bad.csv --out v.npy",
            "is not a decoder-only model; it can only be used",
        ),
        ("compare none.json --resamples 0", "--resamples must be a positive integer but got 0"),
        ("compare none.json", "cannot read result none.json"),
        ("compare old.json", "result old.json: system"),
        ("finetune --model {model} --train none.csv --out a", "no training file"),
        ("finetune --model {model} --train bad.csv --out a --set r=1", "--set r"),
        (
            "finetune --model {model} --train bad.csv --out a --pipeline paper",
            "of `demosearch run`, not",
        ),
        (
            "finetune --model {model} --train bad.csv --columns a --out a",
            "the columns must include 'a' but got",
        ),
        ("run --model {model} --pipeline finetune", "of `demosearch finetune`, not of"),
        ("export old.json --to vllm --out o", "old.json: format "),
        ("export none.json --to vllm --out o", "cannot read demonstrations file none.json"),
        ("candidates --model nope --out c.jsonl", "unknown model 'nope'"),
        ("candidates --labeler none", "--out is required"),
        ("candidates --show none.jsonl", "cannot read candidates file none.jsonl"),
        ("candidates --merge empty.jsonl --out c.jsonl", "empty.jsonl contains no candidates"),
        ("candidates --out c.jsonl --votes 0", "--votes must be an integer >= 1"),
        (
            "embed --model {model} --devices 0,,1 bad.csv --out v.npy",
            "--devices must be device names",
        ),
        ("embed --model {model} --template x bad.csv --out v.npy", "unknown template 'x'"),
        (
            "candidates --out c.jsonl --labeler none --dictionary x",
            "the dictionary must be wordnet, starter, none or an existing file but got 'x'",
        ),
    ],
)
def test_an_error_is_one_line_and_is_found_before_torch_is_imported(
    tiny: Callable[[str], Path], tmp_path: Path, arguments: str, message: str
) -> None:
    header = "sentence1,sentence2,score\n"
    (tmp_path / "bad.csv").write_text(header + "a,b,1\na,b,x\n")
    (tmp_path / "few.csv").write_text(header + "a,b,1\n")
    (tmp_path / "flat.csv").write_text(header + "a,b,2\n" * 12)
    (tmp_path / "dev.csv").write_text(header + "".join(f"a {n},b,{n}\n" for n in range(12)))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "old.json").write_text('{"format": "demosearch.demonstrations/0"}')
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_SPY, *arguments.format(model=tiny("opt")).split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert message in result.stderr
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


LOST = """
import sys, time
from demosearch.cli import app, lists

class Interrupted:
    def __del__(self):
        raise KeyboardInterrupt

def models():
    Interrupted()
    time.sleep(60)

lists.models = models
sys.exit(app.main(["models"]))
"""


def test_an_interrupt_in_a_finalizer_is_repeated() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, check=False, timeout=50
    )
    assert result.returncode == 130
    assert result.stderr.splitlines() == ["demosearch: interrupted; re-run the command to resume"]


def test_candidates_search_and_embed_work_together(
    tiny: Callable[[str], Path], dev: Path, tmp_path: Path
) -> None:
    model = tiny("llama")
    built = demosearch(
        "candidates", "--labeler", "none", "--dictionary", "starter", "--n-dictionary", "6",
        "--exclude", dev, "--out", tmp_path / "c.jsonl", "--json",
    )  # fmt: skip
    assert json.loads(built.stdout)["sources"] == {"starter": 6}
    searched = demosearch(
        "search", "--model", model, "--candidates", tmp_path / "c.jsonl", "--dev", dev,
        "--out", tmp_path / "best.json", "--json",
    )  # fmt: skip
    assert searched.returncode == 0, searched.stderr
    assert json.loads(searched.stdout) == json.loads((tmp_path / "best.json").read_text())
    embedded = demosearch(
        "embed", "--demonstrations", tmp_path / "best.json", "-", "--out", tmp_path / "v.npy",
        "--normalize", stdin="One line\nAnother line\n",
    )  # fmt: skip
    assert embedded.returncode == 0, embedded.stderr
    assert embedded.stdout == ""
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.shape == (2, 48)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_run_prints_a_table(tiny: Callable[[str], Path], dev: Path, tmp_path: Path) -> None:
    result = demosearch(
        "run", "--model", tiny("opt"), "--pipeline", "quickstart", "--dev", dev,
        "--set", "candidates.labeler=none", "--set", "candidates.n_dictionary=4",
        "--out", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "(no demonstration)" in result.stdout
    assert "corrected for the choice" in result.stdout
    assert f"-> {tmp_path / 'out' / 'demonstrations.json'}" in result.stdout
    assert result.stderr == ""


def test_two_methods_of_a_model_are_evaluated_and_compared(
    tiny: Callable[[str], Path], dev: Path, tmp_path: Path
) -> None:
    for method in ("prompt", "mean"):
        result = demosearch(
            "evaluate", "--model", tiny("llama"), "--method", method, "--tasks", dev,
            "--out", tmp_path / f"{method}.json", "--details", "--no-cache",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert "spearman" in result.stdout
        assert "pearson" in result.stdout
    result = demosearch("compare", tmp_path / "prompt.json", tmp_path / "mean.json")
    assert result.returncode == 0, result.stderr
    assert "prompteol, layer 3" in result.stdout
    assert "mean, layer 3" in result.stdout
    assert "95% interval" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--method cls", "is a decoder-only model"),
        ("--method mean --template knowledge", "--template cannot be combined with --method mean"),
    ],
)
def test_a_method_that_does_not_fit_the_model_is_an_error(
    tiny: Callable[[str], Path], dev: Path, arguments: str, message: str
) -> None:
    result = demosearch(
        "evaluate", "--model", tiny("opt"), "--tasks", dev, *arguments.split(), "--no-cache"
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_demonstrations_of_another_model_are_an_error(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    demonstrations_file().write(tmp_path / "d.json")
    result = demosearch(
        "embed", "--demonstrations", tmp_path / "d.json", "--model", tiny("opt"), "-",
        "--out", tmp_path / "v.npy", stdin="x\n",
    )  # fmt: skip
    assert result.returncode == 2
    assert "was made for model 'opt-125m'" in result.stderr


@pytest.mark.parametrize("name", ["models", "pipelines", "schema"])
def test_json_is_exactly_one_value(name: str) -> None:
    result = demosearch(name, "--json")
    assert json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert demosearch(name).returncode == 0


def test_schema_lists_the_settings_of_pipelines() -> None:
    run = json.loads(demosearch("schema", "run", "--json").stdout)
    assert run["properties"]["shots"]["minimum"] == 1
    assert "max_cost" in run["$defs"]["CandidateSettings"]["properties"]
    finetune = json.loads(demosearch("schema", "finetune", "--json").stdout)
    assert finetune["properties"]["lora_r"]["default"] == 64


def test_an_empty_result_is_explained_too(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("word,definition\ntwo words,one two three\nWord,short\n")
    built = demosearch(
        "candidates", "--labeler", "none", "--dictionary", "d.csv", "--out", "c.jsonl",
        "--explain", "refused.jsonl", folder=tmp_path,
    )  # fmt: skip
    assert built.returncode == 2
    assert "not a single word (1)" in built.stderr
    assert "not 3 to 40 words long (1)" in built.stderr
    assert "refused.jsonl" in built.stderr
    assert not (tmp_path / "c.jsonl").exists()
    lines = (tmp_path / "refused.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {
        "not a single word",
        "not 3 to 40 words long",
    }


def test_candidates_are_merged_shown_and_explained(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("the\n")
    for name, seed in (("a", "0"), ("b", "1")):
        built = demosearch(
            "candidates", "--labeler", "none", "--dictionary", "starter", "--n-dictionary", "8",
            "--seed", seed, "--out", tmp_path / f"{name}.jsonl",
            "--explain", tmp_path / f"{name}.refused.jsonl", "--offensive-words", "words.txt",
            folder=tmp_path,
        )  # fmt: skip
        assert built.returncode == 0, built.stderr
    lines = (tmp_path / "a.refused.jsonl").read_text().splitlines()
    assert lines
    assert {json.loads(line)["reason"] for line in lines} == {"contains an offensive word"}
    merged = demosearch(
        "candidates", "--merge", tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "a.jsonl",
        "--out", tmp_path / "both.jsonl", "--json",
    )  # fmt: skip
    ids = {
        json.loads(line)["id"]
        for name in ("a", "b")
        for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()
    }
    assert json.loads(merged.stdout)["candidates"] == len(ids)
    shown = demosearch("candidates", "--show", tmp_path / "both.jsonl")
    assert f"{len(ids):6d}  starter" in shown.stdout
