from __future__ import annotations

import pytest

from demosearch.metrics import bootstrap


def use_fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use fewer resamples; the bootstrap has tests of its own."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    monkeypatch.setattr(bootstrap, "SPLITS", 50)


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use fewer resamples in every test of the selection."""
    use_fewer_resamples(monkeypatch)
