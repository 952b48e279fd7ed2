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
@pytest.mark.parametrize("status", [400, 406, 415, 422, 500, 501])
def test_a_server_is_asked_once_for_a_format_that_it_refuses(
    server: FakeChatServer, status: int, named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    message = "'response_format' of type 'json_schema' is not supported" if named else "failed"
    server.refuses = lambda body: (status, message) if has_format(body) else None
    with caplog.at_level(logging.INFO):
        assert ChatLabeler().label(SENTENCES) == [RAN] * 48
    # An unnamed internal error is more often temporary, so that it is tried twice.
    assert sum(map(has_format, server.requests)) == (2 if status >= 500 and not named else 1)
    assert all(map(has_system, server.requests))
    assert caplog.text.count("does not support 'response_format'; continuing without") == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"error": "bad request"}),
        (200, {"error": {"message": "bad request", "code": "invalid_value"}}),
        # A gateway without a model that supports the option.
        (404, {"error": {"message": "No endpoints found that support response_format"}}),
    ],
)
def test_a_format_that_is_refused_with_another_status_is_left_out_too(
    server: FakeChatServer, status: int, body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server.answer
    monkeypatch.setattr(
        server, "answer", lambda request: body if has_format(request) else answer(request)
    )
    if status == 404:
        server.refuses = lambda request: (
            (404, body["error"]["message"]) if has_format(request) else None
        )
    assert ChatLabeler().label(SENTENCES) == [RAN] * 48
    assert sum(map(has_format, server.requests)) == 1


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
    "status as text": (200, {"message": "You exceeded", "code": "401"}),
    # As xAI, Gemini and Anthropic write them.
    "key as 400": (400, {"message": f"You exceeded. Incorrect API key provided: {KEY}."}),
    "key as a detail": (
        400,
        {"code": 400, "message": "You exceeded", "details": [{"reason": "API_KEY_INVALID"}]},
    ),
    "money as 400": (
        400,
        {"message": "You exceeded. Your credit balance is too low to access the Anthropic API."},
    ),
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


def test_a_sentence_that_moderation_refuses_does_not_end_the_labeling(
    server: FakeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    # As OpenRouter refuses it.
    message = 'Input requires moderation. It was flagged for "violence". No credits were charged.'
    body = json.dumps({"error": {"code": 403, "message": message}}).encode()
    server.bodies = dict.fromkeys((SENTENCES[0], SENTENCES[3]), (403, body))
    assert ChatLabeler().label(SENTENCES[:6]) == [None, RAN, RAN, None, RAN, RAN]
    assert len(server.requests) == 6
    assert caplog.text.count("(status 403): Input requires moderation") == 2


def test_a_sentence_about_money_that_an_error_repeats_does_not_end_the_labeling(
    server: FakeChatServer,
) -> None:
    text = "The card had insufficient credits and an invalid API key"
    body = json.dumps({"error": {"message": f"cannot read: {text}"}}).encode()
    server.bodies = {text: (400, body)}
    assert ChatLabeler().label([SENTENCES[0], text, SENTENCES[1]]) == [RAN, None, RAN]


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
    # LM Studio, and a server that is not a chat server.
    for body in (b'{"error": "Unexpected endpoint"}', b'{"status": "ok"}'):
        server.bodies = dict.fromkeys(SENTENCES, (200, body))
        with pytest.raises(UserError, match=f"no sentence: .* no /v1: try {root}/v1"):
            ChatLabeler().label(SENTENCES[:1])


@pytest.mark.parametrize(
    ("body", "reason"), [(b"Invalid token", ": Invalid token;"), (b"<p>", ";")]
)
def test_a_reason_that_is_not_json_is_shown(
    server: FakeChatServer, body: bytes, reason: str
) -> None:
    server.bodies = dict.fromkeys(SENTENCES, (401, body))
    with pytest.raises(UserError, match=rf"\(status 401\){reason} check the key"):
        ChatLabeler().label(SENTENCES)


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
