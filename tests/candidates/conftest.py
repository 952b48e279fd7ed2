from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demosearch.candidates import chat_server
from tests.chat_server import FakeChatServer, running_server

# No real key.
KEY = "sk-test-not-a-real-key"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeChatServer]:
    """A chat server that the environment points to, an empty cache and short pauses."""
    with running_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("DEMOSEARCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(chat_server, "LONGEST_PAUSE", 0.05)
        yield server
