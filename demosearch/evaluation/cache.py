"""Embeddings and scores that were paid for, kept between evaluations of the same system."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from demosearch._common.files import sha256
from demosearch._common.versions import versions
from demosearch.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TABLES = """
CREATE TABLE IF NOT EXISTS states (text TEXT PRIMARY KEY, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


# What a kept embedding or score depends on besides, where it is installed.
ALSO = ("sentence-transformers", "peft", "scikit-learn")


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _said(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Say in one line what is wrong with the file."""

    @wraps(method)
    def guarded(*arguments: _P.args, **options: _P.kwargs) -> _R:
        try:
            return method(*arguments, **options)
        except sqlite3.Error as error:
            raise UserError(
                f"the cache of embeddings cannot be used ({error}); free or delete it, or say"
                " --no-cache"
            ) from error

    return guarded


class EvaluationCache:
    """A SQLite file for one system; several processes may use it at once.

    It is named by a hash of all that decides an embedding, the versions of the software included, and
    holds hashes of texts, never texts. It can be deleted at any time.

    Args:
        folder: where such files lie.
        system: all that decides an embedding, as JSON takes it.

    Raises:
        UserError: the file cannot be opened.
    """

    def __init__(self, folder: str | Path, system: dict[str, Any]) -> None:
        key = sha256([json.dumps([system, versions(*ALSO)], sort_keys=True)])
        self._path = Path(folder) / f"{key[:20]}.sqlite"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=60)
            self._database.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"cannot open the cache of embeddings {self._path}: {error}") from error

    @_said
    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return the texts whose embeddings are not here, in their order."""
        found = self._database.execute(
            "SELECT text FROM states WHERE text IN (SELECT value FROM json_each(?))",
            (self._keys(texts),),
        )
        known = {key for (key,) in found}
        return [text for text in texts if sha256([text]) not in known]

    @_said
    def keep(self, texts: Sequence[str], states: NDArray[np.float32]) -> None:
        """Keep embeddings; they are on the disk when this returns."""
        rows = [
            (sha256([text]), np.ascontiguousarray(state, dtype=np.float32).tobytes())
            for text, state in zip(texts, states, strict=True)
        ]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", rows)

    @_said
    def states(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts that are all here, float32 (texts, width)."""
        rows = self._database.execute(
            "SELECT text, state FROM states WHERE text IN (SELECT value FROM json_each(?))",
            (self._keys(texts),),
        )
        found = dict(rows.fetchall())
        return np.stack([np.frombuffer(found[sha256([text])], dtype=np.float32) for text in texts])

    @_said
    def score(self, key: str) -> Any:
        """Return a kept value, or None."""
        row = self._database.execute("SELECT value FROM scores WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    @_said
    def keep_score(self, key: str, value: Any) -> None:
        """Keep a value that JSON takes."""
        with self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO scores VALUES (?, ?)", (key, json.dumps(value))
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @staticmethod
    def _keys(texts: Sequence[str]) -> str:
        return json.dumps([sha256([text]) for text in texts])
