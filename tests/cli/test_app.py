"""The command line as a user meets it: in a process of its own."""

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

from demosearch.cli.app import build_parser
from demosearch.models.known import resolve
from tests.examples import demonstrations_file
from tests.fakes import fake_pairs

COMMANDS = [
    "run",
    "candidates",
    "search",
    "embed",
    "evaluate",
    "compare",
    "finetune",
    "export",
    "report",
    "models",
    "doctor",
    "pipelines",
    "schema",
]


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


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_teaches_by_example(command: list[str]) -> None:
    result = demosearch(*command, "--help")
    assert result.returncode == 0
    assert f"demosearch {' '.join(command)}" in result.stdout.partition("examples:")[2]


def test_every_example_of_the_help_is_understood() -> None:
    parser = build_parser()
    (subparsers,) = (one for one in parser._actions if isinstance(one.choices, dict))
    for command in subparsers.choices.values():
        lines = [line.strip() for line in command.epilog.splitlines()[1:]]
        assert lines
        for line in lines:
            # What a shell does with the rest is its own affair.
            (ours,) = (part for part in re.split(r"[|>]", line) if "demosearch " in part)
            parser.parse_args(shlex.split(ours)[1:])
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
        ("run --model {model} --dev none.csv", "an existing file or folder but got 'none.csv'"),
        ("run --model {model} --dev bad.csv", "bad.csv, line 3: the score must be a number but got 'x'"),
        ("run --model {model} --dev few.csv", "the number of pairs must be at least 10 but got 1"),
        ("run --model {model} --dev flat.csv", "the scores must differ, because they are ranked, but all are 2"),
        ("run --model {model} --dev starter --candidates empty.jsonl", "contains no candidates"),
        ("run --model {model} --dev starter --set x=1", "x: Extra inputs are not permitted"),
        ("run --model {model} --dev starter --budget soon", "budget: budget 'soon': write a time"),
        ("run --model {model} --dev starter --patience 0", "patience: Input should be greater"),
        ("run --model {model} --dev starter --layer x", "--layer x: give last, auto or a number"),
        ("run --model {model} --dev starter --template x", "unknown template 'x'"),
        ("search --model {model} --dev starter --candidates none --out o.json", "cannot read"),
        ("embed --model {model} none.txt --out v.npy", "the input must be an existing file, or - for standard input, but got 'none.txt'"),
        ("embed --model {model} bad.csv --out v.txt", "must be .npy or .parquet"),
        ("embed bad.csv --out v.npy", "give --model or --demonstrations"),
        ("embed --demonstrations old.json bad.csv --out v.npy", "format is 'demosearch.demon"),
        ("evaluate --model {model} --tasks glue", "--tasks must be one of sts, transfer, full"),
        ("evaluate --model {model} --data none", "must be an existing SentEval data folder"),
        ("evaluate --model {model} --tasks few.csv", "the number of pairs must be at least 10 but got 1"),
        ("evaluate --model {model} --tasks stsb", "require a SentEval data folder; set --data"),
        ("evaluate --model {model} --tasks dev.csv --out r.txt", "a result file ends in .json"),
        ("evaluate --model nope --tasks dev.csv", "unknown model 'nope'"),
        (
            "embed --model all-minilm-l6-v2 bad.csv --out v.npy",
            "is not a decoder-only model; it can only be used",
        ),
        ("compare none.json --resamples 0", "--resamples must be a positive integer but got 0"),
        ("compare none.json", "cannot read result none.json"),
        ("compare old.json", "result old.json: system: Field required"),
        ("finetune --model {model} --train none.csv --out a", "no training file"),
        ("finetune --model {model} --train bad.csv --out a --set r=1", "r: Extra inputs"),
        ("finetune --model {model} --train bad.csv --out a --pipeline paper", "is one of `demos"),
        ("finetune --model {model} --train bad.csv --columns a --out a", "no column 'a'"),
        ("run --model {model} --pipeline finetune", "is one of `demosearch finetune`, not of"),
        ("export old.json --to vllm --out o", "format is 'demosearch.demonstrations/0'"),
        ("export none.json --to vllm --out o", "cannot read demonstrations file none.json"),
        ("candidates --model nope --out c.jsonl", "unknown model 'nope'"),
        ("candidates --labeler none", "give --out FILE"),
        ("candidates --show none.jsonl", "cannot read candidates file none.jsonl"),
        ("candidates --merge empty.jsonl --out c.jsonl", "empty.jsonl contains no candidates"),
        ("candidates --out c.jsonl --votes 0", "votes: Input should be greater than or equal to 1"),
        ("embed --model {model} --devices 0,,1 bad.csv --out v.npy", "--devices 0,,1"),
        ("embed --model {model} --template x bad.csv --out v.npy", "unknown template 'x'"),
        (
            "candidates --out c.jsonl --labeler none --dictionary x",
            "the dictionary must be wordnet, starter, none or an existing file but got 'x'",
        ),
    ],
)
def test_a_mistake_is_one_line_and_found_before_torch_is_imported(
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
from demosearch.cli import app as cli

class Interrupted:
    def __del__(self):
        raise KeyboardInterrupt

def command(arguments):
    Interrupted()
    time.sleep(60)

cli.commands.models = command
sys.exit(cli.main(["models"]))
"""


def test_ctrl_c_is_not_lost_where_no_exception_gets_out() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, check=False, timeout=50
    )
    assert result.returncode == 130
    assert result.stderr.splitlines() == [
        "demosearch: interrupted; the same command goes on where it stopped"
    ]


def test_unknown_option_is_status_2() -> None:
    result = demosearch("run", "--modle", "x")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_the_whole_way_from_candidates_to_vectors(
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
    found = json.loads(searched.stdout)
    assert found == json.loads((tmp_path / "best.json").read_text())
    embedded = demosearch(
        "embed", "--demonstrations", tmp_path / "best.json", "-", "--out", tmp_path / "v.npy",
        "--normalize", stdin="One line\nAnother line\n",
    )  # fmt: skip
    assert embedded.returncode == 0, embedded.stderr
    assert embedded.stdout == ""
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.shape == (2, 48)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_run_prints_a_table_a_person_can_read(
    tiny: Callable[[str], Path], dev: Path, tmp_path: Path
) -> None:
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


def test_two_ways_of_a_model_are_evaluated_and_compared(
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
        ("--method cls", "is a decoder; its first token sees nothing"),
        ("--method mean --template knowledge", "--method mean takes no --template"),
    ],
)
def test_methods_that_do_not_fit_are_refused(
    tiny: Callable[[str], Path], dev: Path, arguments: str, message: str
) -> None:
    result = demosearch(
        "evaluate", "--model", tiny("opt"), "--tasks", dev, *arguments.split(), "--no-cache"
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_demonstrations_of_another_model_are_refused(
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


def test_the_settings_of_pipelines_are_listed() -> None:
    run = json.loads(demosearch("schema", "run", "--json").stdout)
    assert run["properties"]["rounds"]["description"].startswith("how often candidates race")
    assert "max_cost" in run["$defs"]["CandidateSettings"]["properties"]
    finetune = json.loads(demosearch("schema", "finetune", "--json").stdout)
    assert finetune["properties"]["lora_r"]["default"] == 64


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
    refused = [json.loads(line) for line in (tmp_path / "a.refused.jsonl").read_text().splitlines()]
    assert refused
    assert {one["reason"] for one in refused} == {"contains an offensive word"}
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
