"""A small server that speaks the OpenAI protocol and fails in every way a real one does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What a failure of this name does instead of answering.
CUT = "cut"
NO_JSON = "no json"
SLOW = "slow"


class ChatServer(ThreadingHTTPServer):
    """Answers with the last word of the sentence, or as a rule says.

    Attributes:
        requests: bodies of the chat requests.
        keys: values of the Authorization header.
        failures: by sentence what goes wrong, one a request: a status, CUT, NO_JSON or SLOW.
        answers: by sentence the answers, the last one for ever; None is a refusal.
        enforces: whether the JSON Schema of a request is obeyed.
        refuses: options that this server does not take.
        retry_after: the header of every failure.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.failures: dict[str, list[int | str]] = {}
        self.answers: dict[str, list[str | None]] = {}
        self.enforces = True
        self.refuses: set[str] = set()
        self.retry_after = "0"
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the completion of a request."""
        sentence = body["messages"][-1]["content"]
        with self.lock:
            by_default = [sentence.rstrip(".").split()[-1]]
            answers = self.answers.get(sentence, by_default)
            word = answers.pop(0) if len(answers) > 1 else answers[0]
        message = {"role": "assistant", "content": word}
        if word is None:
            message["refusal"] = "I would rather not."
        elif self.enforces and "response_format" in body:
            message["content"] = json.dumps({"word": word})
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105},
        }


class ChatHandler(BaseHTTPRequestHandler):
    """Answers chat completions."""

    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.add(self.headers["Authorization"])
        self._chat(json.loads(content))

    def _chat(self, body: dict[str, Any]) -> None:
        server = self.server
        sentence = body["messages"][-1]["content"]
        with server.lock:
            server.requests.append(body)
            waiting = server.failures.get(sentence, [])
            failure = waiting.pop(0) if waiting else None
        refused = [option for option in server.refuses if option in body]
        if refused:
            self._send(400, {"error": {"message": f"Unsupported parameter: '{refused[0]}'"}})
        elif failure == CUT:
            self.connection.close()
        elif failure == NO_JSON:
            self._bytes(200, b"<html>busy</html>", "application/json")
        elif failure == SLOW:
            threading.Event().wait(2)
            self.connection.close()
        elif failure is not None:
            said = f"failed with {self.headers['Authorization']}"
            self._send(int(failure), {"error": {"message": said}})
        else:
            self._send(200, server.answer(body))

    def _send(self, status: int, value: object) -> None:
        self._bytes(status, json.dumps(value).encode(), "application/json")

    def _bytes(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status >= 400:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def running_server() -> Iterator[ChatServer]:
    """Run a server on a free port while the block lasts."""
    server = ChatServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
