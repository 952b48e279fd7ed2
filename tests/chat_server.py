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
        written: answers to requests for whole pairs, the last one for ever.
        enforces: whether the JSON Schema of a request is obeyed.
        refuses: options that this server does not take.
        retry_after: the header of every failure.
        batches: by id the requests and the status that comes next.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.failures: dict[str, list[int | str]] = {}
        self.answers: dict[str, list[str | None]] = {}
        self.written: list[str] = []
        self.enforces = True
        self.refuses: set[str] = set()
        self.retry_after = "0"
        self.files: dict[str, str] = {}
        self.batches: dict[str, list[str]] = {}
        self.batch_failures: set[str] = set()
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
            answers = self.written or self.answers.get(sentence, by_default)
            word = answers.pop(0) if len(answers) > 1 else answers[0]
        message = {"role": "assistant", "content": word}
        if word is None:
            message["refusal"] = "I would rather not."
        elif self.enforces and "response_format" in body and not self.written:
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
    """Chat completions, files and batches."""

    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.add(self.headers["Authorization"])
        if self.path == "/v1/files":
            self._keep_file(content)
        elif self.path == "/v1/batches":
            self._submit(json.loads(content))
        else:
            self._chat(json.loads(content))

    def do_GET(self) -> None:
        kind, name, *rest = self.path.removeprefix("/v1/").split("/")
        if kind == "files" and rest == ["content"]:
            self._bytes(200, self.server.files[name].encode(), "application/octet-stream")
        elif kind == "batches":
            states = self.server.batches[name]
            self._send(200, self._batch(name, states.pop(0) if len(states) > 1 else states[0]))

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

    def _keep_file(self, content: bytes) -> None:
        lines = [line for line in content.decode().splitlines() if line.startswith("{")]
        name = f"file-{len(self.server.files)}"
        self.server.files[name] = "\n".join(lines)
        self._send(200, {"id": name, "object": "file", "bytes": len(content), "created_at": 0,
                         "filename": "q.jsonl", "purpose": "batch", "status": "processed"})  # fmt: skip

    def _submit(self, body: dict[str, Any]) -> None:
        name = f"batch-{len(self.server.batches)}"
        rows = []
        for line in self.server.files[body["input_file_id"]].splitlines():
            asked = json.loads(line)
            sentence = asked["body"]["messages"][-1]["content"]
            failed = sentence in self.server.batch_failures
            self.server.batch_failures.discard(sentence)
            answered = (
                {"error": {"message": "overloaded"}}
                if failed
                else self.server.answer(asked["body"])
            )
            rows.append({"id": "r", "custom_id": asked["custom_id"], "error": None,
                         "response": {"status_code": 500 if failed else 200, "body": answered}})  # fmt: skip
        # Results come in no order.
        self.server.files[f"out-{name}"] = "\n".join(json.dumps(row) for row in reversed(rows))
        self.server.batches.setdefault(name, ["validating", "in_progress", "completed"])
        self._send(200, self._batch(name, "validating"))

    def _batch(self, name: str, status: str) -> dict[str, Any]:
        output = f"out-{name}" if status == "completed" else None
        return {"id": name, "object": "batch", "endpoint": "/v1/chat/completions", "status": status,
                "completion_window": "24h", "created_at": 0, "input_file_id": "x",
                "output_file_id": output}  # fmt: skip

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
