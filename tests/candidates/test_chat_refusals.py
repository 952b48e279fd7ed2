"""Options, roles, keys, models and addresses that a chat server refuses, over real HTTP."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from demosearch.candidates.chat import ChatLabeler, ChatSettings
from demosearch.candidates.chat_prompt import INSTRUCTION
from demosearch.candidates.labeling import Label
from demosearch.errors import UserError
from tests.candidates.conftest import KEY
from tests.chat_server import FakeChatServer

SENTENCES = [f"The dog number {number} ran" for number in range(48)]
RAN = Label("Ran")
MESSAGES = {
    400: "response_format is not supported",
    422: "Extra inputs are not permitted",
    500: "Internal Server Error",
}


def has_format(body: dict[str, Any]) -> bool:
    return "response_format" in body


def has_system(body: dict[str, Any]) -> bool:
    return any(message["role"] == "system" for message in body["messages"])


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_is_asked_once_for_a_format_that_it_refuses(
    server: FakeChatServer, status: int, named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    message = "'response_format' of type 'json_schema' is not supported" if named else "failed"
    server.refuses = lambda body: (status, message) if has_format(body) else None
    with caplog.at_level(logging.INFO):
        assert ChatLabeler().label(SENTENCES) == [RAN] * 48
    # An unnamed internal error is more often temporary, so that it is tried twice.
    assert sum(map(has_format, server.requests)) == (2 if status == 500 and not named else 1)
    assert all(map(has_system, server.requests))
    assert caplog.text.count("does not support 'response_format'; continuing without") == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "System role not supported"),
        (422, "Input should be 'user' or 'assistant'"),
        (500, "Jinja Exception: Conversation roles must alternate"),
        (500, ""),
    ],
)
def test_a_server_is_asked_once_with_a_system_role_that_it_refuses(
    server: FakeChatServer, status: int, message: str
) -> None:
    server.refuses = lambda body: (status, message) if has_system(body) else None
    assert ChatLabeler().label(SENTENCES) == [RAN] * 48
    assert sum(map(has_system, server.requests)) <= 3
    last = server.requests[-1]
    assert has_format(last)
    assert last["messages"][0]["content"].startswith(f"{INSTRUCTION}\n\nA man is slicing")
    roles = [entry["role"] for entry in last["messages"]]
    assert roles == ["user", "assistant"] * 3 + ["user"]


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_refuses_both_and_the_temperature_is_asked_without(
    server: FakeChatServer, status: int
) -> None:
    server.refuses = lambda body: (
        (status, "bad request")
        if has_system(body) or has_format(body) or "temperature" in body
        else None
    )
    assert ChatLabeler(ChatSettings(votes=2)).label(SENTENCES[:9]) == [Label("Ran", 1.0)] * 9
    assert sum(bool(server.refuses(body)) for body in server.requests) <= 5


def test_the_form_is_kept_if_only_one_sentence_is_refused(server: FakeChatServer) -> None:
    server.failures = {SENTENCES[5]: [400] * 9}
    labels = ChatLabeler().label(SENTENCES[:10])
    assert labels == [RAN] * 5 + [None] + [RAN] * 4
    assert len(server.requests) == 10
    assert all(map(has_format, server.requests))
    assert all(map(has_system, server.requests))


def test_the_form_is_kept_if_the_first_sentence_is_refused(server: FakeChatServer) -> None:
    server.failures = {SENTENCES[0]: [400] * 99}
    assert ChatLabeler().label(SENTENCES[:10]) == [None] + [RAN] * 9
    assert has_format(server.requests[-1])
    assert has_system(server.requests[-1])


def test_a_server_that_refuses_everything_is_not_asked_in_all_forms_every_time(
    server: FakeChatServer,
) -> None:
    server.refuses = lambda body: (400, f"no {KEY}")
    with pytest.raises(UserError, match=r"labeled no sentence: BadRequestError .*: no \*\*\*"):
        ChatLabeler().label(SENTENCES)
    assert len(server.requests) <= 48 + 3 * 4


ERRORS = {
    "quota": (429, {"message": "You exceeded your quota", "code": "insufficient_quota"}),
    "quota as type": (429, {"message": "You exceeded your quota", "type": "insufficient_quota"}),
    "payment": (402, {"message": "You exceeded your balance"}),
    "quota in an answer": (200, {"message": "You exceeded it", "code": "insufficient_quota"}),
    "key": (401, {"message": f"Incorrect key: {KEY}. You exceeded", "code": "invalid_api_key"}),
    "key in an answer": (200, {"message": "You exceeded", "code": 401}),
    "permission": (403, {"message": "You exceeded your rights"}),
    "model": (404, {"message": "You exceeded: no such model", "code": "model_not_found"}),
    "model as 400": (400, {"message": "You exceeded", "code": "model_not_found"}),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_that_every_request_has_ends_the_labeling_with_the_reason(
    server: FakeChatServer, name: str
) -> None:
    status, error = ERRORS[name]
    # Two answers arrive before.
    assert ChatLabeler().label(SENTENCES[:2]) == [RAN] * 2
    server.bodies = {text: (status, json.dumps({"error": error}).encode()) for text in SENTENCES}
    before = len(server.requests)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"the chat server .* You exceeded") as raised:
        ChatLabeler().label(SENTENCES)
    assert time.monotonic() - start < 5
    assert KEY not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(server.requests) - before == 1
    server.bodies.clear()
    assert ChatLabeler().label(SENTENCES[:2]) == [RAN] * 2
    assert len(server.requests) - before == 1


def test_answers_that_were_sent_before_such_an_error_are_kept(server: FakeChatServer) -> None:
    error = json.dumps({"error": {"code": "insufficient_quota"}}).encode()
    server.bodies = {SENTENCES[3]: (429, error)}
    with pytest.raises(UserError, match="requires payment"):
        ChatLabeler().label(SENTENCES)
    asked = len(server.requests)
    server.bodies.clear()
    assert ChatLabeler().label(SENTENCES) == [RAN] * 48
    assert len(server.requests) == asked + 48 - (asked - 1)


def test_questions_do_not_wait_for_a_first_one_that_fails_temporarily(
    server: FakeChatServer,
) -> None:
    server.failures = {SENTENCES[0]: [503, 503, 503, 503, 503]}
    server.retry_after = "0.04"
    assert ChatLabeler().label(SENTENCES[:9]) == [RAN] * 9
    asked = [body["messages"][-1]["content"] for body in server.requests]
    assert {*asked[:4]} != {SENTENCES[0]}


def test_a_missing_v1_in_the_base_url_is_named(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = server.url.removesuffix("/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", root)
    for response in [(404, b'{"detail": "Not Found"}'), (405, b""), (404, b"<html>")]:
        server.bodies = dict.fromkeys(SENTENCES, response)
        with pytest.raises(UserError, match=f"base URL has no /v1: try {root}/v1"):
            ChatLabeler().label(SENTENCES)
    server.bodies = dict.fromkeys(SENTENCES, (200, b"<html>"))
    with pytest.raises(UserError, match=f"no sentence: .* not JSON; .* no /v1: try {root}/v1"):
        ChatLabeler().label(SENTENCES)


def test_the_version_of_azure_is_sent_with_every_request(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = server.url.removesuffix("/v1")
    url = f"{root}/openai/deployments/mine?api-version=2024-10-21"
    assert ChatLabeler(ChatSettings(base_url=url)).label(SENTENCES[:3]) == [RAN] * 3
    path = "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert set(server.paths) == {path}
    assert {headers["api-key"] for headers in server.headers} == {KEY}
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert ChatLabeler().label(SENTENCES[:4]) == [RAN] * 4
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/v1", "must begin with http:// or https://.*'ftp'"),
        ("file:///v1", "must begin with http"),
        ("localhost:8000/v1", "must begin with http"),
        ("localhost/v1", "must begin with http"),
        ("http:///v1", "must be a URL with a host"),
        ("http://:8000/v1", "must be a URL with a host"),
        ("http://host:99999/v1", "a port from 1 to 65535"),
        ("http://host:0/v1", "must be a URL with a host"),
        ("http://host:x/v1", "a port from 1 to 65535"),
        ("http://[::1/v1", "a valid host"),
        ("http://my host/v1", "without blanks"),
        ("http://host/v1\n", "without blanks"),
        ("http://me:secret@host/v1", "without password"),
        ("http://host/v1?key=secret", "without password"),
        ("http://host/v1?api-version=1&key=secret", "without password"),
        ("http://host/v1#secret", "without password"),
        (f"http://{'a' * 300}/v1", "cannot be reached|must be"),
    ],
)
def test_a_malformed_url_is_refused_before_the_first_request(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    with pytest.raises(UserError, match=f"base_url .*{message}|{message}") as raised:
        ChatLabeler(ChatSettings(base_url=url)).label(SENTENCES[:1])
    assert "secret" not in str(raised.value)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(UserError, match=message) as raised:
        ChatLabeler().label(SENTENCES[:1])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "key", ["schlüssel-12345", "sk-12345678\n", "sk 12345678", "“sk-12345678”"]
)
def test_a_key_that_cannot_be_sent_is_refused(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(
        UserError, match="the key in OPENAI_API_KEY must consist of ASCII"
    ) as raised:
        ChatLabeler()
    assert "12345" not in str(raised.value)


@pytest.mark.parametrize(
    "proxy", ["socks9://me:secret@host:1", "ftp://secret", "http://secret:99999"]
)
def test_a_malformed_proxy_is_refused(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UserError, match="the proxy in HTTPS_PROXY must be an http://") as raised:
        ChatLabeler()
    assert "secret" not in str(raised.value)


def command(tmp_path: Path) -> list[str]:
    path = tmp_path / "s.txt"
    path.write_text("\n".join(SENTENCES))
    options = f"--labeler openai --dictionary none --n-sentences 48 --sentences {path}"
    return [
        *(sys.executable, "-m", "demosearch", "candidates", *options.split()),
        *("--out", str(tmp_path / "out.jsonl")),
    ]


@pytest.mark.parametrize("answered", [0, 1], ids=["first", "others"])
def test_ctrl_c_stops_labeling_against_a_hanging_server_at_once(
    server: FakeChatServer, tmp_path: Path, answered: int
) -> None:
    # The first question is asked alone; then eight are.
    server.hangs_after = answered
    process = subprocess.Popen(command(tmp_path), stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 60
        while len(server.requests) < 1 + 8 * answered and time.monotonic() < end:
            time.sleep(0.05)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert time.monotonic() - start < 3
    assert process.returncode == 130
    assert b"interrupted" in errors
    assert b"Traceback" not in errors


def test_a_wrong_key_ends_the_command_with_status_2(server: FakeChatServer, tmp_path: Path) -> None:
    server.refuses = lambda body: (401, f"Incorrect API key provided: {KEY}")
    done = subprocess.run(
        command(tmp_path), capture_output=True, text=True, env=os.environ, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "Incorrect API key provided: ***; check the key" in done.stderr.replace("\n", " ")
    assert KEY not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
