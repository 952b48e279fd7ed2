"""What is killed at random moments goes on where it was, and comes to the same end.

Five kills a command here, 25 by `make soak`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from safetensors.numpy import load_file

from tests.examples import demonstrations_file
from tests.fakes import fake_pairs
from tests.killing import survive


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kills"))


@pytest.fixture
def model(tiny: Callable[[str], Path]) -> str:
    return str(tiny("llama"))


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[str, str]:
    """Dev and test pairs as files."""
    names = []
    for seed, name in enumerate(("dev", "test")):
        found = fake_pairs(60, seed)
        table = {
            "sentence1": [f"{name} {text}" for text in found.sentences1],
            "sentence2": [f"{name} {text}" for text in found.sentences2],
            "score": found.scores,
        }
        pd.DataFrame(table).to_csv(tmp_path / f"{name}.csv", index=False)
        names.append(str(tmp_path / f"{name}.csv"))
    return names[0], names[1]


def without(value: object, *names: str) -> object:
    """Return JSON without some keys, wherever they stand."""
    if isinstance(value, dict):
        return {key: without(each, *names) for key, each in value.items() if key not in names}
    return [without(each, *names) for each in value] if isinstance(value, list) else value


def test_a_run(model: str, pairs: tuple[str, str], tmp_path: Path, kills: int) -> None:
    def arguments(folder: Path) -> list[str]:
        dev, test = pairs
        changes = (
            "candidates.labeler=local",
            "candidates.n_sentences=4",
            "candidates.n_dictionary=8",
        )
        return [
            "run", "--quiet", "--model", model, "--pipeline", "quickstart", "--dev", dev,
            "--test", test, "--ensemble", "2", "--layer", "auto", "--center", "dev",
            "--out", str(folder / "run"), *(word for one in changes for word in ("--set", one)),
        ]  # fmt: skip

    def result(folder: Path) -> object:
        run = folder / "run"
        study = optuna.load_study(study_name="demosearch", storage=f"sqlite:///{run / 'study.db'}")
        scored = [(one.user_attrs["candidate"], one.user_attrs["pairs"]) for one in study.trials]
        assert len(scored) == len(set(scored))
        names = {path.name for path in run.iterdir() if not path.name.startswith(".")}
        return (
            names,
            (run / "candidates.jsonl").read_text(),
            pd.read_csv(run / "trials.csv").drop(columns="seconds").to_csv(),
            *(
                without(json.loads((run / name).read_text()), "seconds")
                for name in ("demonstrations.json", "evaluation.json")
            ),
        )

    survive(arguments, tmp_path / "work", result, kills)


def test_candidates(model: str, tmp_path: Path, kills: int) -> None:
    def arguments(folder: Path) -> list[str]:
        return [
            "candidates", "--quiet", "--model", model, "--labeler", "local", "--n-sentences", "20",
            "--dictionary", "starter", "--n-dictionary", "20", "--out", str(folder / "c.jsonl"),
        ]  # fmt: skip

    def result(folder: Path) -> object:
        return (folder / "c.jsonl").read_text()

    survive(arguments, tmp_path / "work", result, kills)


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_embed(model: str, tmp_path: Path, kills: int, ending: str) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"Line number {row} of many.\n" for row in range(9000)))

    def arguments(folder: Path) -> list[str]:
        out = str(folder / f"vectors.{ending}")
        return ["embed", "--quiet", "--model", model, str(lines), "--out", out]

    def result(folder: Path) -> object:
        # Nothing else is left beside it.
        names = {path.name for path in folder.iterdir() if not path.name.endswith(".tmp")}
        return names, (folder / f"vectors.{ending}").read_bytes()

    survive(arguments, tmp_path / "work", result, kills)


def test_evaluate(model: str, pairs: tuple[str, str], tmp_path: Path, kills: int) -> None:
    file = tmp_path / "best.json"
    found = demonstrations_file()
    found = found.model_copy(
        update={"model": found.model.model_copy(update={"name": model, "source": model})}
    )
    found.write(file)

    def arguments(folder: Path) -> list[str]:
        return [
            "evaluate", "--quiet", "--demonstrations", str(file), "--tasks", ",".join(pairs),
            "--out", str(folder / "result.json"),
        ]  # fmt: skip

    def result(folder: Path) -> object:
        details = np.load(folder / "result.npz", allow_pickle=False)
        value = json.loads((folder / "result.json").read_text())
        return (
            without(value, "seconds", "sentences_encoded"),
            {name: details[name].tolist() for name in details.files},
        )

    survive(arguments, tmp_path / "work", result, kills)


def test_finetune(model: str, pairs: tuple[str, str], tmp_path: Path, kills: int) -> None:
    rows = [
        {"sent0": f"A man {row} walks", "sent1": f"He {row} walks", "hard_neg": f"Nobody {row}"}
        for row in range(48)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "nli.csv", index=False)

    def arguments(folder: Path) -> list[str]:
        settings = ("batch_size=8", "eval_steps=2", "warmup_steps=1", "lora_r=4")
        return [
            "finetune", "--quiet", "--model", model, "--train", str(tmp_path / "nli.csv"),
            "--dev", pairs[0], "--precision", "fp32", "--out", str(folder / "adapter"),
            *(word for one in settings for word in ("--set", one)),
        ]  # fmt: skip

    def result(folder: Path) -> object:
        adapter = folder / "adapter"
        names = {path.name for path in adapter.iterdir() if not path.name.startswith(".")}
        training = json.loads((adapter / "training.json").read_text())
        weights = load_file(adapter / "adapter_model.safetensors")
        return names, training["best_step"], {name: each.tolist() for name, each in weights.items()}

    survive(arguments, tmp_path / "work", result, kills)
