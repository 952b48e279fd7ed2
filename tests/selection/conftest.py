from __future__ import annotations

import pytest

from demosearch.metrics import statistics

RESAMPLES, SPLITS = 400, 50


def use_fewer_resamples() -> None:
    """Use fewer resamples in this process; for workers that a test starts."""
    statistics.RESAMPLES, statistics.SPLITS = RESAMPLES, SPLITS


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use fewer resamples; the bootstrap has tests of its own."""
    monkeypatch.setattr(statistics, "RESAMPLES", RESAMPLES)
    monkeypatch.setattr(statistics, "SPLITS", SPLITS)
