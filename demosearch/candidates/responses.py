"""The answers of chat models, kept between runs so that none is paid for twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from demosearch._common.sqlite_cache import SqliteCache
from demosearch.candidates.chat_key import without_key
from demosearch.candidates.chat_word import is_complete

_TABLE = "answers"
_COLUMNS = (
    "key TEXT",
    "text TEXT NOT NULL",
    "sent INTEGER NOT NULL",
    "received INTEGER NOT NULL",
)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of a chat model.

    Attributes:
        text: the answer. A refusal of the model is an object without a word.
        sent: number of input tokens.
        received: number of output tokens.
        estimated: whether a number of tokens is an estimate. It is not cached.
    """

    text: str
    sent: int = 0
    received: int = 0
    estimated: bool = False


class ResponseCache:
    """The answers of chat models in an SQLite file.

    The file contains hashes of the questions and the texts of the answers, and never an API key. Only
    the user may read it (mode 600).
    Several threads and processes may use it at once.

    Args:
        path: the file. It is created if it does not exist.

    Raises:
        UserError: the file cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._cache = SqliteCache(
            path,
            {_TABLE: _COLUMNS},
            "cache of answers",
            "set DEMOSEARCH_CACHE to another folder",
            private=True,
        )

    def get_many(self, keys: Iterable[str]) -> dict[str, Response]:
        """Return the cached answers among those with these keys.

        Earlier versions also kept errors, as empty texts, and cut answers; these are missing here. They
        did not mask the API key.
        """
        rows = self._cache.get_many(_TABLE, keys)
        return {
            key: Response(without_key(text), sent, received)
            for key, (text, sent, received) in rows.items()
            if is_complete(text)
        }

    def get(self, key: str) -> Response | None:
        """Return a cached answer, or None."""
        return self.get_many([key]).get(key)

    def put(self, key: str, response: Response) -> None:
        """Cache an answer. It is on disk when this returns."""
        self._cache.put_many(_TABLE, {key: (response.text, response.sent, response.received)})

    def close(self) -> None:
        """Close the file."""
        self._cache.close()


def question_key(*parts: str) -> str:
    """Return the key of a question from all that affects its answer.

    Args:
        *parts: the server's URL, the model, the version of the prompt, the sentence, the vote.
    """
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
