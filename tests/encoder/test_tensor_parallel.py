"""A model split by torchrun over two processes, with gloo on the CPU in place of two GPUs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demosearch import Embedder
from tests.cli.test_app import demosearch
from tests.torchrun import torchrun

TEXTS = ["A cat sleeps.", "Dogs bark at night, all of them.", "Is it raining?"]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return path


def test_a_split_model_gives_the_embeddings_of_the_whole_model(
    tiny: Callable[[str], Path], lines: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v.npy"
    result = torchrun(
        2,
        "demosearch",
        "embed",
        "--model",
        tiny("llama"),
        "--precision",
        "fp32",
        lines,
        "--out",
        out,
        "--json",
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"file": str(out), "texts": 3}
    whole = Embedder.without_demonstrations(str(tiny("llama")), precision="fp32", device="cpu")
    np.testing.assert_allclose(np.load(out), whole.encode(TEXTS), atol=1e-4)


def test_a_search_with_a_split_model_has_the_same_result(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    candidates = tmp_path / "c.jsonl"
    demosearch(
        "candidates",
        "--labeler",
        "none",
        "--dictionary",
        "starter",
        "--n-dictionary",
        "3",
        "--out",
        candidates,
    )
    options = ["search", "--model", tiny("llama"), "--precision", "fp32", "--dev", "starter"]
    options += ["--candidates", candidates, "--json", "--quiet", "--out"]
    split = torchrun(2, "demosearch", *options, tmp_path / "split.json")
    assert split.returncode == 0, split.stderr
    alone = demosearch(*options, tmp_path / "alone.json", "--device", "cpu")
    first, second = json.loads(split.stdout), json.loads(alone.stdout)
    assert [ranked["id"] for ranked in first["ranking"]] == [
        ranked["id"] for ranked in second["ranking"]
    ]
    assert first["dev"]["spearman"] == pytest.approx(second["dev"]["spearman"], abs=0.1)


def test_a_family_without_a_tensor_parallel_plan_is_refused(
    tiny: Callable[[str], Path], lines: Path, tmp_path: Path
) -> None:
    result = torchrun(
        2, "demosearch", "embed", "--model", tiny("opt"), lines, "--out", tmp_path / "v.npy"
    )
    assert result.returncode != 0
    assert "models of type 'opt' cannot be split by torchrun" in result.stderr
