from __future__ import annotations

import optuna
import pytest

from demosearch.metrics import bootstrap
from demosearch.selection import study


def use_fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use fewer resamples; the bootstrap has tests of its own."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    monkeypatch.setattr(bootstrap, "SPLITS", 50)


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use fewer resamples in a test."""
    use_fewer_resamples(monkeypatch)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the studies of a test in memory, one storage for each URL, for tests that read no file."""
    storages: dict[str, optuna.storages.InMemoryStorage] = {}
    monkeypatch.setattr(
        study,
        "open_storage",
        lambda url: storages.setdefault(url, optuna.storages.InMemoryStorage()),
    )
