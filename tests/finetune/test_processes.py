"""Two processes with half a batch each, against one with the whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import REPOSITORY


def gradients(folder: Path, out: Path, processes: int, mini_batch: int) -> Any:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else [])]
    command += ["-m", "tests.finetune.gather", str(folder), str(out), str(mini_batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize("mini_batch", [0, 3])
def test_the_texts_of_all_processes_are_negatives(
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
