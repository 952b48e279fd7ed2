"""The chat labeler with a real server: `transformers serve` and the embedded model over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from demosearch.candidates.chat import ChatLabeler, ChatSettings
from demosearch.candidates.responses import ResponseCache
from demosearch.models.gguf import unpacked
from demosearch.models.known import resolve

SENTENCES = [
    "A man is slicing a potato.",
    "Two dogs run across a green field.",
    "The stock market fell sharply on Monday.",
]
SECONDS_TO_START = 180


@pytest.fixture(scope="module")
def model() -> str:
    """The folder of the embedded model: the server reads safetensors and no GGUF file."""
    return unpacked(resolve("smollm2-135m"), torch.float32)[0]


@contextmanager
def serving(model: str, log_file: Path) -> Iterator[str]:
    """Run a server inside the block and yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", start, "serve", model, "--host", "127.0.0.1", "--port"]
    with (
        log_file.open("wb") as log,
        subprocess.Popen([*command, str(port)], stdout=log, stderr=log) as process,
    ):
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not start")


def test_a_real_server_labels_sentences_and_its_answers_are_cached(
    model: str, tmp_path: Path
) -> None:
    cache = ResponseCache(tmp_path / "answers.sqlite")
    with serving(model, tmp_path / "server.log") as url:
        settings = ChatSettings(model=model, base_url=url)
        labels = ChatLabeler(settings, cache).label(SENTENCES)
    words = [label.answer for label in labels if label]
    assert len(words) == len(SENTENCES)
    assert all(word.replace("-", "").isalpha() and word[0].isupper() for word in words)
    # The server has stopped, so the labels come from the cache.
    assert ChatLabeler(settings, cache).label(SENTENCES) == labels
    cache.close()
