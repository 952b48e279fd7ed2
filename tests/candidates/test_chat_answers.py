"""What a chat server can send with status 200: only answers are kept, and nothing is a traceback."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from demosearch.candidates import CandidateSettings, chat_http, generate
from demosearch.candidates.chat import ChatLabeler, ChatSettings
from demosearch.candidates.labeling import Label
from demosearch.candidates.responses import Response, ResponseCache
from tests.candidates.conftest import KEY
from tests.chat_server import FakeChatServer

SENTENCES = [f"The {adjective} dog ran" for adjective in ("old", "young", "brown")]
ODD = SENTENCES[1]
RAN = Label("Ran")
USAGE = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


def completion(content: Any = "Ran", **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **choice}
    return {"id": "1", "object": "chat.completion", "choices": [choice], "usage": USAGE}


NOT_ANSWERS: dict[str, Any] = {
    "empty": b"",
    "blank": b" \n",
    "null": None,
    "a list": [completion()],
    "a number": 3,
    "a text": "Ran",
    "HTML": b"<html>Ran</html>",
    "SSE": b'data: {"choices": [{"delta": {"content": "Ran"}}]}\n\ndata: [DONE]\n\n',
    "JSON that was cut": json.dumps(completion()).encode()[:-20],
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "a long number": b"9" * 10_000,
    "an error": {"error": {"message": "overloaded", "code": "server_error"}},
    "an error as text": {"error": "overloaded"},
    "an error as number": {"error": 7},
    "an error with empty choices": {"error": {"message": "x"}, "choices": []},
    "an error of vLLM": {"object": "error", "message": "x", "code": 40000},
    "an error with an answer": {**completion(), "error": {"message": "x"}},
    "no choices": {},
    "empty choices": {"choices": []},
    "choices as null": {"choices": None},
    "choices as text": {"choices": "Ran"},
    "choices as object": {"choices": {"0": completion()["choices"][0]}},
    "a choice as text": {"choices": ["Ran"]},
    "no message": {"choices": [{"text": "Ran"}]},
    "a message as text": {"choices": [{"message": "Ran"}]},
    "no content": {"choices": [{"message": {}}]},
    "content as null": completion(None),
    "content as list": completion([{"type": "text", "text": "Ran"}]),
    "content as number": completion(3),
    "content as object": completion({"word": "Ran"}),
    "empty content": completion(""),
    "blank content": completion(" "),
    "a lone surrogate": completion("Ran\ud800"),
    "cut": completion("Ran", finish_reason="length"),
    "filtered": completion("Ran", finish_reason="content_filter"),
    "filtered and empty": completion(None, finish_reason="content_filter"),
    "cut by another server": completion("Ran", finish_reason="MAX_TOKENS"),
    "a reason as list": completion("Ran", finish_reason=["stop"]),
    "a reason as number": completion("Ran", finish_reason=1),
    "JSON that ends early": completion('{"word": "Ra'),
    "text before JSON that ends early": completion('Sure: {"word": "Ra'),
    "a quote that ends early": completion('"Ra'),
    "a fence that ends early": completion("```\nRa"),
    "reasoning that ends early": completion("<think>Ra"),
    "only reasoning": completion("<think>Ra</think>"),
    "two choices": {**completion(), "choices": [completion("Ran")["choices"][0]] * 2},
    "an error in the choice": completion("Ran", error={"code": 502}),
}


def body_of(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.mark.parametrize("name", NOT_ANSWERS)
def test_what_is_not_an_answer_is_not_kept_and_asked_again(
    server: FakeChatServer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    server.bodies = {ODD: (200, body_of(NOT_ANSWERS[name]))}
    with caplog.at_level(logging.WARNING):
        assert ChatLabeler().label(SENTENCES) == [RAN, None, RAN]
    assert "a sentence was not labeled: " in caplog.text
    server.bodies.clear()
    before = len(server.requests)
    assert ChatLabeler().label(SENTENCES) == [RAN] * 3
    assert [body["messages"][-1]["content"] for body in server.requests[before:]] == [ODD]


def test_a_response_without_content_is_not_an_answer(server: FakeChatServer) -> None:
    server.streams = {ODD: [b"HTTP/1.1 204 No Content\r\n\r\n"]}
    assert ChatLabeler().label(SENTENCES) == [RAN, None, RAN]


@pytest.mark.parametrize("charset", ["base64", "rot13", "utf-7", "no-such-charset"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_header_does_not_change_how_a_response_is_read(
    server: FakeChatServer, charset: str, status: int
) -> None:
    body = body_of(completion()) if status == 200 else b"bad request"
    head = f"HTTP/1.1 {status} X\r\nContent-Type: text/plain; charset={charset}\r\n"
    server.streams = {ODD: [f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body]}
    expected = [RAN, RAN if status == 200 else None, RAN]
    assert ChatLabeler().label(SENTENCES) == expected


def test_only_answers_that_are_not_words_are_the_reason_of_no_label(
    server: FakeChatServer, tmp_path: Path
) -> None:
    server.bodies = {ODD: (200, body_of(completion("two words")))}
    assert ChatLabeler().label(SENTENCES) == [RAN, Label("two words"), RAN]
    assert ChatLabeler().label(SENTENCES) == [RAN, Label("two words"), RAN]
    assert len(server.requests) == 3


def test_a_refusal_is_kept(server: FakeChatServer) -> None:
    server.answers = {ODD: [None]}
    for _ in range(2):
        assert ChatLabeler().label(SENTENCES) == [RAN, None, RAN]
    assert len(server.requests) == 3


def test_empty_answers_that_an_earlier_version_kept_are_asked_again(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ResponseCache.put
    with monkeypatch.context() as patched:
        patched.setattr(
            ResponseCache, "put", lambda cache, key, _: original(cache, key, Response("", 1, 1))
        )
        ChatLabeler().label(SENTENCES)
    assert ChatLabeler().label(SENTENCES) == [RAN] * 3
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        [],
        {},
        {"prompt_tokens": "100", "completion_tokens": "5"},
        {"prompt_tokens": -(10**9), "completion_tokens": -5},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 1, "completion_tokens": True},
        {"prompt_tokens": 1e9, "completion_tokens": float("nan")},
        {"prompt_tokens": 10**30, "completion_tokens": 10**30},
        {"prompt_tokens": None, "completion_tokens": {}},
    ],
    ids=str,
)
def test_odd_token_counts_are_replaced_by_an_estimate(
    server: FakeChatServer, caplog: pytest.LogCaptureFixture, usage: Any
) -> None:
    body = completion('{"word": "Ran"}')
    server.bodies = {text: (200, body_of({**body, "usage": usage})) for text in SENTENCES}
    labeler = ChatLabeler(ChatSettings(price="1000000,0"))
    with caplog.at_level(logging.INFO):
        assert labeler.label(SENTENCES) == [RAN] * 3
    assert "; estimated for answers without valid token counts: 3" in caplog.text
    # A dollar per input token; the questions have about 100 tokens each.
    assert labeler.cost is not None
    assert 200 < labeler.cost < 2000


def test_answers_that_are_not_kept_cost_what_the_server_counts(server: FakeChatServer) -> None:
    server.bodies = {ODD: (200, body_of(completion("Ran", finish_reason="length")))}
    labeler = ChatLabeler(ChatSettings(price="1000,2000"))
    labeler.label(SENTENCES)
    assert labeler.cost == pytest.approx((300 * 1000 + 15 * 2000) / 1e6)


def endless() -> Iterable[bytes]:
    return itertools.chain([HEAD + b"\r\n"], itertools.repeat(b" " * 65_536))


def slow(head: bytes) -> Iterable[bytes]:
    yield head
    while True:
        time.sleep(0.05)
        yield b"x"


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (endless, "more than 1048576 bytes"),
        (
            lambda: [HEAD + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b" " * (1 << 28), 1)],
            "more than 65536 bytes",
        ),
        (lambda: slow(HEAD + b"\r\n"), "not complete after 1 s"),
        (lambda: slow(HEAD + b"X-Slow: "), "not complete after 1 s"),
        (lambda: slow(b""), "not complete after 1 s"),
    ],
    ids=["endless", "compressed", "slow body", "slow header", "slow status"],
)
def test_answers_are_limited_in_size_and_time(
    server: FakeChatServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: Any,
    message: str,
) -> None:
    monkeypatch.setattr(chat_http, "LONGEST_ANSWER", 1.0)
    server.streams = {ODD: stream()}
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert ChatLabeler().label(SENTENCES) == [RAN, None, RAN]
    assert message in caplog.text
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        f"your key is {KEY.upper()}",
        json.dumps({"word": KEY}),
        f"<think>\\u0073{KEY[1:]}</think>Riding",
        '{"word": "' + "".join(f"\\u{ord(character):04x}" for character in KEY) + '"}',
    ],
)
def test_a_key_that_a_server_echoes_is_masked(
    server: FakeChatServer, tmp_path: Path, content: str
) -> None:
    server.bodies = {f"{ODD}": (200, body_of(completion(content)))}
    (tmp_path / "s.txt").write_text("\n".join(SENTENCES))
    generated = generate(
        CandidateSettings(
            labeler="openai", sentences=str(tmp_path / "s.txt"), n_sentences=3, dictionary="none"
        )
    )
    assert len(generated.candidates) == 2
    kept = repr(generated) + "".join(
        path.read_bytes().decode("latin-1")
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file()
    )
    assert KEY[1:] not in kept.lower()
    assert "\\u0073\\u006b" not in kept


def test_only_the_user_can_read_the_cache(server: FakeChatServer, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "answers.sqlite"
    path.parent.mkdir()
    for existing in (False, True):
        if existing:
            path.chmod(0o644)
        ChatLabeler().label(SENTENCES[:1])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
