"""A small server that speaks the OpenAI protocol, and fails as real servers do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Failures that are not a status.
CONNECTION_CLOSED = "connection closed"
NOT_JSON = "not JSON"
TIMED_OUT = "timed out"


class FakeChatServer(ThreadingHTTPServer):
    """Answers with the last word of the sentence, or as configured.

    Attributes:
        requests: the bodies of the requests.
        keys: the values of the Authorization header.
        failures: by sentence, the failures of the next requests: a status, CONNECTION_CLOSED,
            NOT_JSON or TIMED_OUT.
        answers: by sentence, the next answers. The last one is repeated; None is a refusal.
        enforces_format: whether answers follow the JSON schema of the request.
        refused_options: options that the server does not support.
        retry_after: the Retry-After header of every failure.
        bodies: by sentence, the status and the body of every response, instead of an answer.
        refuses: returns the status and the message with which a request is refused, or None.
        hangs_after: number of requests after which no request is answered; None if all are.
        streams: by sentence, the bytes of a response, the status line included.
        paths: the paths of the requests.
        headers: the headers of the requests.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.failures: dict[str, list[int | str]] = {}
        self.answers: dict[str, list[str | None]] = {}
        self.enforces_format = True
        self.refused_options: set[str] = set()
        self.retry_after = "0"
        self.bodies: dict[str, tuple[int, bytes]] = {}
        self.refuses: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda body: None
        self.hangs_after: int | None = None
        self.streams: dict[str, Iterable[bytes]] = {}
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the completion of a request."""
        sentence = body["messages"][-1]["content"]
        with self.lock:
            answers = self.answers.get(sentence, [sentence.rstrip(".").split()[-1]])
            word = answers.pop(0) if len(answers) > 1 else answers[0]
        message = {"role": "assistant", "content": word}
        if word is None:
            message["refusal"] = "I would rather not."
        elif self.enforces_format and "response_format" in body:
            message["content"] = json.dumps({"word": word})
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105},
        }


class _Handler(BaseHTTPRequestHandler):
    """Answers chat completions."""

    server: FakeChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sentence = body["messages"][-1]["content"]
        with server.lock:
            server.keys.add(self.headers["Authorization"])
            server.requests.append(body)
            server.paths.append(self.path)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            failures = server.failures.get(sentence, [])
            failure = failures.pop(0) if failures else None
        if server.hangs_after is not None and len(server.requests) > server.hangs_after:
            server.closing.wait(60)
            self.close_connection = True
            return
        if sentence in server.streams:
            self._stream(server.streams[sentence])
            return
        if refusal := server.refuses(body):
            self._send(refusal[0], {"error": {"message": refusal[1]}})
            return
        if sentence in server.bodies:
            self._send_bytes(*server.bodies[sentence])
            return
        refused = [option for option in server.refused_options if option in body]
        if refused:
            self._send(400, {"error": {"message": f"Unsupported parameter: '{refused[0]}'"}})
        elif failure == CONNECTION_CLOSED:
            self.connection.close()
        elif failure == NOT_JSON:
            self._send_bytes(200, b"<html>busy</html>")
        elif failure == TIMED_OUT:
            threading.Event().wait(2)
            self.connection.close()
        elif failure is not None:
            message = f"failed with {self.headers['Authorization']}"
            self._send(int(failure), {"error": {"message": message}})
        else:
            self._send(200, server.answer(body))

    def _stream(self, chunks: Iterable[bytes]) -> None:
        self.close_connection = True
        with suppress(OSError):
            for chunk in chunks:
                if self.server.closing.is_set():
                    break
                self.wfile.write(chunk)

    def _send(self, status: int, value: object) -> None:
        self._send_bytes(status, json.dumps(value).encode())

    def _send_bytes(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status >= 400:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Write no log lines to the output of the tests."""


@contextmanager
def running_server() -> Iterator[FakeChatServer]:
    """Run a server on a free port inside the block."""
    server = FakeChatServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
