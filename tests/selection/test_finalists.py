from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from scipy import stats

from demosearch import search
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES, open_study

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_finalists_that_the_best_is_not_significantly_better_than_are_listed(
    tmp_path: Path,
) -> None:
    file = search(
        FakeEncoder(),
        fake_candidates([5, 6, 99, 95, 90]),
        DEV,
        folder=tmp_path,
        strategy="exhaustive",
    ).file
    second = file.ranking[1]
    assert second.word in ("W5", "W6")
    assert file.dev.indistinguishable in ([], [second.id])
    assert file.dev.runner_up_ci95 is not None
    assert (file.dev.runner_up_ci95[0] <= 0) == (second.id in file.dev.indistinguishable)


def test_similarities_are_saved_on_request(tmp_path: Path) -> None:
    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "folder": tmp_path}
    file = search(FakeEncoder(), **arguments, save_similarities=True).file
    search(FakeEncoder(), **arguments, save_similarities=True)
    kept = np.load(tmp_path / "similarities.npz", allow_pickle=False)
    assert kept["names"].tolist() == [
        "baseline",
        *(row.id for row in file.ranking if row.word),
    ]
    assert kept["similarities"].dtype == np.float16
    best = kept["similarities"][1, 0].astype(float)
    assert 100 * stats.spearmanr(best, DEV.scores).statistic == pytest.approx(
        file.dev.spearman, abs=0.5
    )
    assert str(kept["dev_sha256"]) == DEV.sha256
    artifacts = optuna.artifacts.get_all_artifact_meta(open_study(tmp_path))
    assert [artifact.filename for artifact in artifacts] == ["similarities.npz"]
