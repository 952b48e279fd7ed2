from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from demosearch.run_folder import folder_name, locked


def test_waiting_for_another_worker_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    entered: list[str] = []

    def second() -> None:
        with locked(tmp_path, "sqlite:///x.db"):
            entered.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path, "sqlite:///x.db"):
        thread.start()
        deadline = time.monotonic() + 60
        while "waiting for another worker" not in caplog.text:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            thread.join(0.01)
        entered.append("first")
    thread.join()
    assert entered == ["first", "second"]
    # A study in the folder is not shared.
    with locked(tmp_path / "own", None):
        assert not (tmp_path / "own").exists()


def test_a_folder_is_named_after_the_model(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "config.json").write_text("{}")
    assert folder_name(str(tmp_path / "ours")) == "ours"
    assert folder_name("llama-13b") == "llama-13b"
    assert folder_name("facebook/opt-1.3b") == "facebook--opt-1.3b"
