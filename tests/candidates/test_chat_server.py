"""Retries, pauses, rate and errors of a chat server, over real HTTP."""

from __future__ import annotations

import logging
import time

import pytest

from demosearch.candidates import chat_server
from demosearch.candidates.chat_prompt import messages_for
from demosearch.candidates.chat_server import ChatError, ChatServer
from demosearch.candidates.responses import Response
from demosearch.errors import UserError
from tests.candidates.conftest import KEY
from tests.chat_server import CONNECTION_CLOSED, NOT_JSON, TIMED_OUT, FakeChatServer

SENTENCE = "The old dog ran"
RAN = Response("ran", 100, 5)


def ask(times: int = 1, rate: int | None = None) -> list[Response]:
    with ChatServer("some-model", rate=rate) as chat:
        return [chat.ask(messages_for(SENTENCE)) for _ in range(times)]


@pytest.mark.parametrize(
    "failure", [408, 409, 429, 500, 503, CONNECTION_CLOSED, NOT_JSON, TIMED_OUT], ids=str
)
def test_temporary_failures_are_retried(
    server: FakeChatServer, failure: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_server, "TIMEOUT", 0.5)
    server.failures = {SENTENCE: [failure, failure]}
    assert ask() == [RAN]
    assert len(server.requests) == 3


def test_attempts_are_limited(server: FakeChatServer) -> None:
    server.failures = {SENTENCE: [500] * 99}
    with pytest.raises(ChatError, match=r"^InternalServerError \(status 500\)"):
        ask()
    assert len(server.requests) == chat_server.ATTEMPTS


def test_a_pause_that_the_server_asks_for_is_obeyed(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_server, "LONGEST_PAUSE", 60.0)
    server.retry_after = "0.4"
    server.failures = {SENTENCE: [429]}
    start = time.monotonic()
    assert ask() == [RAN]
    assert 0.4 < time.monotonic() - start < 2


@pytest.mark.parametrize("pause", ["3600", "9" * 30, "9" * 5000])
def test_a_long_pause_is_cut(
    server: FakeChatServer, caplog: pytest.LogCaptureFixture, pause: str
) -> None:
    server.retry_after = pause
    server.failures = {SENTENCE: [429]}
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert ask() == [RAN]
    assert time.monotonic() - start < 2
    if pause == "3600":
        assert "asks to wait 3600 s before the next try; waiting 0.05 s" in caplog.text


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "refused the key in OPENAI_API_KEY"),
        (403, "refused the key"),
        (404, "does not have the model 'some-model'"),
    ],
)
def test_errors_that_the_user_must_fix_are_not_retried(
    server: FakeChatServer, status: int, message: str
) -> None:
    server.failures = {SENTENCE: [status] * 9}
    with pytest.raises(UserError, match=message) as error:
        ask()
    assert KEY not in str(error.value)
    assert len(server.requests) == 1


def test_the_key_in_a_message_of_the_server_is_masked(server: FakeChatServer) -> None:
    server.failures = {SENTENCE: [400] * 9}
    with pytest.raises(
        ChatError, match=r"^BadRequestError \(status 400\): failed with Bearer \*\*\*$"
    ):
        ask()


def test_a_refused_option_is_left_out_of_all_later_requests(server: FakeChatServer) -> None:
    server.refused_options = {"temperature"}
    options = {"temperature": 1.0, "seed": 3}
    with ChatServer("some-model", options=options) as chat:
        assert [chat.ask(messages_for(SENTENCE)) for _ in range(3)] == [RAN] * 3
    with chat:
        chat.ask(messages_for(SENTENCE))
    assert ["temperature" in body for body in server.requests] == [True, *[False] * 4]
    assert all(body["seed"] == 3 for body in server.requests)


def test_requests_obey_the_rate(server: FakeChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_server, "MINUTE", 300)
    start = time.monotonic()
    ask(times=5, rate=2)
    # Two requests every 0.3 seconds.
    assert time.monotonic() - start > 0.55


def test_the_connection_is_closed_outside_the_block(server: FakeChatServer) -> None:
    with ChatServer("some-model") as chat:
        assert chat.url.startswith(server.url)
    with pytest.raises(RuntimeError, match="only inside the with block"):
        chat.ask([])
