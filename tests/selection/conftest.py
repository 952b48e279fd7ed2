from __future__ import annotations

import pytest

from demosearch.metrics import statistics


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample as often as is enough here; the statistics have tests of their own."""
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    monkeypatch.setattr(statistics, "SPLITS", 50)
