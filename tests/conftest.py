"""Shared fixtures: tiny seeded models with their own tokenizer, and the folder of real data."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports transformers: no test may reach for a hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from demosearch.candidates.wordnet import wordnet_is_installed
from tests.databases import SERVERS
from tests.tiny import FAMILIES, save_tiny_model

# What lands must not hang on chance; `make fuzz` looks further.
settings.register_profile("fuzz", deadline=None, max_examples=50_000)
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("DEMOSEARCH_DATA") or REPOSITORY.parent / "shared" / "data")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take how often each command is killed."""
    parser.addoption("--kills", type=int, default=5, help="kills a command in tests/test_kills.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests whose data is not here; where DEMOSEARCH_REQUIRE_... is set, that fails."""
    here = {
        "data": DATA.is_dir(),
        **{name: server.programs is not None for name, server in SERVERS.items()},
        "wordnet": wordnet_is_installed(),
    }
    for marker, there in here.items():
        if there:
            continue
        if os.environ.get(f"DEMOSEARCH_REQUIRE_{marker.upper()}"):
            raise pytest.UsageError(f"tests marked '{marker}' cannot run: see CONTRIBUTING.md")
        wanting = [item for item in items if item.get_closest_marker(marker)]
        config.hook.pytest_deselected(items=wanting)
        items[:] = [item for item in items if item not in wanting]


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """Take back what a command in this process did to the package's log."""
    yield
    package = logging.getLogger("demosearch")
    package.handlers, package.propagate = [], True
    package.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real evaluation data."""
    return DATA


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a tiny seeded model of a family, made once."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            save_tiny_model(family, made[family])
        return made[family]

    return folder


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Every family of tiny models in turn."""
    return str(request.param)


@pytest.fixture(autouse=True)
def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own keys and data out of every test."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DEMOSEARCH_DATA"):
        monkeypatch.delenv(name, raising=False)
