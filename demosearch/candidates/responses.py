"""Answers that were paid for, kept between runs."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from demosearch.errors import UserError

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, sent INTEGER NOT NULL, received INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Response:
    """What a chat model answered and what it cost.

    Attributes:
        text: the answer; empty if the model refused or said nothing.
        sent: tokens of the question.
        received: tokens of the answer.
    """

    text: str
    sent: int = 0
    received: int = 0


class ResponseCache:
    """A small SQLite file of answers; several threads and processes may use it at once.

    It holds hashes of the questions and the answers' texts, and never a key.

    Args:
        path: the file, made if missing.

    Raises:
        UserError: it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=30, check_same_thread=False)
            self._database.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"cannot open the cache of answers {path}: {error}") from error

    def answer(self, key: str) -> Response | None:
        """Return a kept answer."""
        with self._lock:
            row = self._database.execute(
                "SELECT text, sent, received FROM answers WHERE key = ?", (key,)
            ).fetchone()
        return Response(*row) if row else None

    def keep(self, key: str, response: Response) -> None:
        """Keep an answer; it is on the disk when this returns."""
        with self._lock, self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                (key, response.text, response.sent, response.received),
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def question_key(*parts: str) -> str:
    """Return a key made of all that decides an answer: server, model, prompt, sentence, vote."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
