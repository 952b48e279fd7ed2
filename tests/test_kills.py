"""A command that is killed at random moments, or whose disk is full, resumes with the same result.

Each command is killed five times, and 25 times by `make soak`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from safetensors.numpy import load_file

from tests.examples import demonstrations_file
from tests.fakes import write_fake_pairs
from tests.killing import run, survive


@dataclass(frozen=True)
class Case:
    """The arguments of a command for a working folder, and the result that must be the same."""

    arguments: Callable[[Path], list[str]]
    result: Callable[[Path], object]


@pytest.fixture
def model(tiny: Callable[[str], Path]) -> str:
    return str(tiny("llama"))


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[str, str]:
    """Dev and test pairs as files."""
    dev, test = (
        write_fake_pairs(tmp_path / f"{name}.csv", 60, seed)
        for seed, name in enumerate(("dev", "test"))
    )
    return dev, test


def without(value: object, *names: str) -> object:
    """Return a JSON value without some keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(each, *names) for key, each in value.items() if key not in names}
    return [without(each, *names) for each in value] if isinstance(value, list) else value


def visible(folder: Path) -> set[str]:
    """Return the names of files that are not hidden."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def a_run(model: str, pairs: tuple[str, str]) -> Case:
    dev, test = pairs
    changes = ("candidates.labeler=local", "candidates.n_sentences=4", "candidates.n_dictionary=8")
    fixed = [
        "run", "--quiet", "--model", model, "--pipeline", "quickstart", "--dev", dev,
        "--test", test, "--ensemble", "2", "--layer", "auto", "--postprocess", "whiten",
        *(word for one in changes for word in ("--set", one)),
    ]  # fmt: skip

    def result(folder: Path) -> object:
        out = folder / "run"
        study = optuna.load_study(study_name="demosearch", storage=f"sqlite:///{out / 'study.db'}")
        scored = [(one.user_attrs["candidate"], one.user_attrs["pairs"]) for one in study.trials]
        assert len(scored) == len(set(scored))
        return (
            visible(out),
            (out / "candidates.jsonl").read_text(),
            pd.read_csv(out / "trials.csv").drop(columns="seconds").to_csv(),
            *(
                without(json.loads((out / name).read_text()), "seconds")
                for name in ("demonstrations.json", "evaluation.json")
            ),
        )

    return Case(lambda folder: [*fixed, "--out", str(folder / "run")], result)


@pytest.fixture
def candidates(model: str) -> Case:
    fixed = [
        "candidates", "--quiet", "--model", model, "--labeler", "local", "--n-sentences", "20",
        "--dictionary", "starter", "--n-dictionary", "20",
    ]  # fmt: skip
    return Case(
        lambda folder: [*fixed, "--out", str(folder / "c.jsonl")],
        lambda folder: (folder / "c.jsonl").read_text(),
    )


def embed(model: str, folder: Path, ending: str) -> Case:
    lines = folder / "lines.txt"
    lines.write_text("".join(f"Line number {row} of many.\n" for row in range(9000)))

    def result(folder: Path) -> object:
        # No other files remain.
        names = {path.name for path in folder.iterdir() if not path.name.endswith(".tmp")}
        return names, (folder / f"vectors.{ending}").read_bytes()

    fixed = ["embed", "--quiet", "--model", model, str(lines), "--out"]
    return Case(lambda folder: [*fixed, str(folder / f"vectors.{ending}")], result)


@pytest.fixture
def embed_npy(model: str, tmp_path: Path) -> Case:
    return embed(model, tmp_path, "npy")


@pytest.fixture
def embed_parquet(model: str, tmp_path: Path) -> Case:
    return embed(model, tmp_path, "parquet")


@pytest.fixture
def evaluate(model: str, pairs: tuple[str, str], tmp_path: Path) -> Case:
    file = demonstrations_file()
    record = file.model.model_copy(update={"name": model, "source": model})
    file.model_copy(update={"model": record}).write(tmp_path / "best.json")

    def result(folder: Path) -> object:
        details = np.load(folder / "result.npz", allow_pickle=False)
        value = json.loads((folder / "result.json").read_text())
        return (
            without(value, "seconds", "sentences_encoded"),
            {name: details[name].tolist() for name in details.files},
        )

    fixed = [
        "evaluate", "--quiet", "--demonstrations", str(tmp_path / "best.json"),
        "--tasks", ",".join(pairs),
    ]  # fmt: skip
    return Case(lambda folder: [*fixed, "--out", str(folder / "result.json")], result)


@pytest.fixture
def finetune(model: str, pairs: tuple[str, str], tmp_path: Path) -> Case:
    rows = [
        {"sent0": f"A man {row} walks", "sent1": f"He {row} walks", "hard_neg": f"Nobody {row}"}
        for row in range(48)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "nli.csv", index=False)
    settings = ("batch_size=8", "eval_steps=2", "warmup_steps=1", "lora_r=4")
    fixed = [
        "finetune", "--quiet", "--model", model, "--train", str(tmp_path / "nli.csv"),
        "--dev", pairs[0], "--precision", "fp32",
        *(word for one in settings for word in ("--set", one)),
    ]  # fmt: skip

    def result(folder: Path) -> object:
        adapter = folder / "adapter"
        training = json.loads((adapter / "training.json").read_text())
        weights = load_file(adapter / "adapter_model.safetensors")
        values = {name: each.tolist() for name, each in weights.items()}
        return visible(adapter), training["best_step"], values

    return Case(lambda folder: [*fixed, "--out", str(folder / "adapter")], result)


@pytest.fixture(
    params=["a_run", "candidates", "embed_npy", "embed_parquet", "evaluate", "finetune"]
)
def case(request: pytest.FixtureRequest) -> Case:
    """Each command that runs long."""
    case = request.getfixturevalue(request.param)
    assert isinstance(case, Case)
    return case


def test_a_killed_command_resumes_with_the_same_result(
    case: Case, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kills = int(request.config.getoption("--kills"))
    survive(case.arguments, tmp_path / "work", case.result, kills)


def test_a_full_disk_is_an_error_of_one_line_and_loses_nothing(case: Case, tmp_path: Path) -> None:
    work = tmp_path / "work"
    whole = run(case.arguments(work / "whole"), work / "whole")
    assert whole.is_finished, whole.output
    full = work / "full"
    rooms = [0, 3_000, 12_000, 50_000, 200_000, None]
    failures = 0
    while not (ended := run(case.arguments(full), full, room=rooms.pop(0))).is_finished:
        assert ended.status == 2, ended.output
        assert "Traceback" not in ended.output
        errors = [line for line in ended.output.splitlines() if line.startswith("demosearch: ")]
        assert len(errors) == 1, ended.output
        failures += 1
    assert failures
    assert case.result(full) == case.result(work / "whole")


def test_two_interrupts_end_a_command_without_a_traceback(a_run: Case, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "demosearch", *a_run.arguments(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DEMOSEARCH_CACHE": str(tmp_path / "cache")},
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "study.db").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors
    ended = run(a_run.arguments(tmp_path), tmp_path)
    assert ended.status == 0, ended.output
