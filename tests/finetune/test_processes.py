"""Two processes with half a batch each, against one with the whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes import write_fake_pairs
from tests.killing import DOUBT
from tests.torchrun import torchrun


def run(processes: int, *arguments: str | Path | int) -> None:
    result = torchrun(processes, *arguments)
    # The adapter of so few rows may be worse than none.
    assert result.returncode == 0 or DOUBT in result.stderr, result.stderr


def gradients(folder: Path, out: Path, processes: int, mini_batch: int) -> Any:
    run(processes, "tests.finetune.gather", folder, out, mini_batch)
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize("mini_batch", [0, 3])
def test_texts_of_all_processes_are_negatives(
    tiny: Callable[[str], Path], tmp_path: Path, mini_batch: int
) -> None:
    alone = gradients(tiny("llama"), tmp_path / "one.pt", 1, mini_batch)
    together = gradients(tiny("llama"), tmp_path / "two.pt", 2, mini_batch)
    torch.testing.assert_close(together["loss"], alone["loss"], rtol=1e-4, atol=1e-5)
    assert together["gradients"].keys() == alone["gradients"].keys()
    for name, expected in alone["gradients"].items():
        assert expected.abs().max() > 0, name
        torch.testing.assert_close(
            together["gradients"][name], expected, rtol=1e-3, atol=1e-5, msg=name
        )


def test_several_processes_train_like_one(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    # Every premise twice: in one batch each would be a negative of the other. And a rest of one row.
    rows = [
        f"A man number {row // 2} walks,Somebody {row} walks,Nobody {row} walks"
        for row in range(33)
    ]
    data = tmp_path / "nli.csv"
    data.write_text("\n".join(["sent0,sent1,hard_neg", *rows]))
    dev = write_fake_pairs(tmp_path / "dev.csv", 30)
    settings = {
        "batch_size": 8, "max_steps": 8, "eval_steps": 4, "warmup_steps": 1, "learning_rate": 0.01,
        "lora_r": 4, "lora_dropout": 0,
    }  # fmt: skip
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    trainings = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        where = ("--model", tiny("llama"), "--train", data, "--dev", dev, "--out", out)
        run(
            processes, "demosearch", "finetune", *where,
            "--precision", "fp32", "--device", "cpu", *options,
        )  # fmt: skip
        trainings.append(json.loads((out / "training.json").read_text()))
    alone, together = ([step["loss"] for step in each["curve"]] for each in trainings)
    assert len(alone) == 8
    # Four batches are an epoch: the fifth is drawn in another order in both.
    assert together == pytest.approx(alone, rel=1e-3)
    assert together[4] != pytest.approx(together[0], rel=1e-3)
    scores = [each["dev_after"] for each in trainings]
    assert scores[1] == pytest.approx(scores[0], abs=0.5)
