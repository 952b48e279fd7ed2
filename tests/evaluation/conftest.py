from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demosearch.datasets.senteval import STS_SUBSETS


@pytest.fixture
def senteval(tmp_path: Path) -> Path:
    parent = tmp_path / "STS" / "STS12-en-test"
    parent.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for subset in STS_SUBSETS["STS12"]:
        rows = [f"{subset} cat number {row}\ta dog {row % 4}" for row in range(15)]
        (parent / f"STS.input.{subset}.txt").write_text("\n".join(rows) + "\n")
        golds = [f"{score:.1f}" for score in generator.uniform(0, 5, 15)]
        golds[3] = ""
        (parent / f"STS.gs.{subset}.txt").write_text("\n".join(golds) + "\n")
    return tmp_path
