from __future__ import annotations

import pytest

from demosearch.metrics import bootstrap


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use fewer resamples; the bootstrap has tests of its own."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    monkeypatch.setattr(bootstrap, "SPLITS", 50)
