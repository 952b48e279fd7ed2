"""Embeddings and predictions, cached between evaluations of the same system."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch._common.files import json_text, sha256
from demosearch._common.sqlite_cache import SqliteCache
from demosearch._common.versions import versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STATES, _SCORES = "states", "scores"
_TABLES = {
    _STATES: ("text TEXT", "state BLOB NOT NULL"),
    _SCORES: ("key TEXT", "value TEXT NOT NULL"),
}
_CHUNK = 2048
# Optional packages whose versions are part of the key, if they are installed.
OPTIONAL_PACKAGES = ("sentence-transformers", "peft", "scikit-learn")


class EvaluationCache:
    """A SQLite file for one system; several processes may use it at the same time.

    The file's name is a hash of everything that determines an embedding, including the versions of the
    software. The file contains hashes of texts, never texts. It can be deleted at any time.

    Args:
        folder: the folder of the file.
        system: everything that determines an embedding, as a JSON object.

    Raises:
        UserError: the file cannot be opened.
    """

    def __init__(self, folder: str | Path, system: dict[str, Any]) -> None:
        key = sha256([json.dumps([system, versions(*OPTIONAL_PACKAGES)], sort_keys=True)])
        path = Path(folder) / f"{key[:20]}.sqlite"
        self._cache = SqliteCache(path, _TABLES, "cache of embeddings", "use --no-cache")

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return the distinct texts whose embeddings are not cached, in their order.

        Embeddings that are not finite, which version 0.1 wrote, count as missing.

        Raises:
            UserError: the file cannot be read.
        """
        keys = {sha256([text]): text for text in texts}
        # In chunks, because the embeddings are read too.
        every = list(keys)
        for start in range(0, len(every), _CHUNK):
            known = self._cache.get_many(_STATES, every[start : start + _CHUNK])
            for key, (state,) in known.items():
                if np.isfinite(np.frombuffer(state, dtype=np.float32)).all():
                    del keys[key]
        return list(keys.values())

    def put_states(self, texts: Sequence[str], states: NDArray[np.float32]) -> None:
        """Write embeddings (texts, width); they are on disk when this returns.

        Raises:
            UserError: the file cannot be written to.
        """
        rows = {
            sha256([text]): (np.ascontiguousarray(state, dtype=np.float32).tobytes(),)
            for text, state in zip(texts, states, strict=True)
        }
        self._cache.put_many(_STATES, rows)

    def states(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts, float32 (texts, width); all of them must be cached.

        Raises:
            UserError: the file cannot be read.
        """
        keys = [sha256([text]) for text in texts]
        cached = self._cache.get_many(_STATES, keys)
        return np.stack([np.frombuffer(cached[key][0], dtype=np.float32) for key in keys])

    def value(self, key: str) -> Any:
        """Return the JSON value of a key, or None if it is not cached.

        Raises:
            UserError: the file cannot be read.
        """
        row = self._cache.get_many(_SCORES, [key]).get(key)
        return None if row is None else json.loads(row[0])

    def put_value(self, key: str, value: Any) -> None:
        """Write a JSON value.

        Raises:
            UserError: the file cannot be written to.
        """
        self._cache.put_many(_SCORES, {key: (json_text(value),)})

    def close(self) -> None:
        """Close the file."""
        self._cache.close()
