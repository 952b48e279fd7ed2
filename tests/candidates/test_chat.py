"""The chat labeler over real HTTP, against a small server that speaks the protocol."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from demosearch.candidates import CandidateSettings, generate
from demosearch.candidates.chat import ChatLabeler
from demosearch.errors import UserError

KEY = "sk-test-not-a-real-key"


class ChatServer(ThreadingHTTPServer):
    """Answers with the last word of the sentence, or as a rule says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.requests: list[dict[str, object]] = []
        self.keys: set[str] = set()
        self.failures: dict[str, list[int]] = {}
        self.answers: dict[str, str | None] = {}


class ChatHandler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.add(self.headers["Authorization"])
        sentence = body["messages"][-1]["content"]
        failures = self.server.failures.get(sentence, [])
        if failures:
            status = failures.pop(0)
            self._send(
                status, {"error": {"message": f"failed with {self.headers['Authorization']}"}}
            )
            return
        word = self.server.answers.get(sentence, sentence.rstrip(".").split()[-1])
        message = {"role": "assistant", "content": word}
        self._send(
            200,
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            },
        )

    def _send(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    server = ChatServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield server
    server.shutdown()
    server.server_close()


SENTENCES = [f"The {adjective} dog ran" for adjective in ("old", "young", "brown", "fast", "big")]


def test_answers_come_in_the_order_of_the_sentences(server: ChatServer) -> None:
    server.answers = {text: text.split()[1] for text in SENTENCES}
    labeler = ChatLabeler("some-model")
    assert labeler.source == "openai:some-model"
    assert labeler.label(SENTENCES) == ["old", "young", "brown", "fast", "big"]
    assert {request["model"] for request in server.requests} == {"some-model"}
    assert server.keys == {f"Bearer {KEY}"}


def test_failures_that_pass_are_tried_again(server: ChatServer) -> None:
    server.failures = {SENTENCES[0]: [429, 500], SENTENCES[3]: [503]}
    assert ChatLabeler().label(SENTENCES) == ["ran"] * 5
    assert len(server.requests) == 5 + 3


def test_a_sentence_that_keeps_failing_is_left_out(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = {SENTENCES[2]: [400]}
    with caplog.at_level(logging.WARNING):
        answers = ChatLabeler().label(SENTENCES)
    assert answers == ["ran", "ran", None, "ran", "ran"]
    assert "status 400" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "refused the key in OPENAI_API_KEY"),
        (403, "refused the key"),
        (404, "knows no model 'gpt-4o-mini'"),
    ],
)
def test_what_no_retry_mends_ends_at_once(server: ChatServer, status: int, message: str) -> None:
    server.failures = {text: [status] * 9 for text in SENTENCES}
    with pytest.raises(UserError, match=message) as error:
        ChatLabeler().label(SENTENCES)
    assert KEY not in str(error.value)


def test_no_answer_at_all_is_an_error(server: ChatServer) -> None:
    server.failures = {text: [400] * 9 for text in SENTENCES}
    with pytest.raises(UserError, match=r"answered no sentence: BadRequestError \(status 400\)"):
        ChatLabeler().label(SENTENCES)


def test_neither_key_nor_server_is_an_error() -> None:
    with pytest.raises(UserError, match=r"set OPENAI_API_KEY .* or choose --labeler local"):
        ChatLabeler()


def test_a_server_of_ones_own_needs_no_key(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ChatLabeler().label(SENTENCES[:1]) == ["ran"]


def test_candidates_come_from_good_answers_only(server: ChatServer, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "s.txt").write_text("\n".join(SENTENCES))
    server.answers = {
        SENTENCES[0]: '"running".',
        SENTENCES[1]: "two words",
        SENTENCES[2]: None,
        SENTENCES[3]: "",
    }
    settings = CandidateSettings(
        labeler="openai", sentences=str(tmp_path / "s.txt"), n_sentences=5, dictionary="none"
    )
    generated = generate(settings)
    words = {one.sentence: one.word for one in generated.candidates}
    assert words == {"The old dog ran.": "Running", "The big dog ran.": "Ran"}
    assert generated.sources == {"openai:gpt-4o-mini": 2}
    assert generated.rejected == {"no single word": 3}
