"""A key-value cache in an SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from demosearch.errors import UserError

# Seconds that a process waits while another one writes.
_TIMEOUT = 60.0

Row = tuple[Any, ...]


class SqliteCache:
    """Rows by their keys, in one or more tables of an SQLite file.

    Several threads and processes may use the file at once. It can be deleted at any time.

    >>> cache = SqliteCache(":memory:", {"lengths": ("word TEXT", "length INTEGER")}, "cache")
    >>> cache.put_many("lengths", {"one": (3,), "three": (5,)})
    >>> cache.get_many("lengths", ["three", "seven"])
    {'three': (5,)}
    >>> cache.close()

    Args:
        path: the file. It is created if it does not exist, and so is its folder.
        tables: definitions of the columns by table. The first column is the key; the other ones
            are the row. Values are texts, bytes or numbers.
        purpose: names the cache in errors, e.g. `cache of embeddings`.
        remedy: how to do without the cache, for errors, e.g. `use --no-cache`.
        private: whether only the user may read the file.

    Raises:
        UserError: the file cannot be opened.
    """

    def __init__(
        self,
        path: str | Path,
        tables: Mapping[str, tuple[str, ...]],
        purpose: str,
        remedy: str = "",
        *,
        private: bool = False,
    ) -> None:
        self._path, self._purpose, self._remedy = path, purpose, remedy
        self._tables = tables
        self._lock = threading.Lock()
        with self._errors_reported("open"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if private:
                _make_private(path)
            self._connection = sqlite3.connect(path, timeout=_TIMEOUT, check_same_thread=False)
            try:
                for table, (key, *values) in tables.items():
                    columns = ", ".join([f"{key} PRIMARY KEY", *values])
                    self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            except sqlite3.Error:
                self._connection.close()
                raise

    def get_many(self, table: str, keys: Iterable[str]) -> dict[str, Row]:
        """Return the rows of those keys that are in the cache.

        Raises:
            UserError: the file cannot be read.
        """
        key, *values = self._columns(table)
        # The names come from the program and never from its input.
        query = (
            f"SELECT {', '.join([key, *values])} FROM {table}"  # noqa: S608
            f" WHERE {key} IN (SELECT value FROM json_each(?))"
        )
        with self._lock, self._errors_reported("read"):
            rows = self._connection.execute(query, (json.dumps(list(keys)),)).fetchall()
        return {row[0]: tuple(row[1:]) for row in rows}

    def put_many(self, table: str, rows: Mapping[str, Row]) -> None:
        """Write rows in one transaction: all of them are on disk when this returns.

        Raises:
            UserError: the file cannot be written to.
        """
        columns = self._columns(table)
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
        with self._lock, self._errors_reported("write to"), self._connection:
            self._connection.executemany(statement, [(key, *row) for key, row in rows.items()])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _columns(self, table: str) -> list[str]:
        return [definition.split()[0] for definition in self._tables[table]]

    @contextmanager
    def _errors_reported(self, action: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            remedy = f", or {self._remedy}" if self._remedy else ""
            raise UserError(
                f"cannot {action} the {self._purpose} {self._path}: {error}; check the free space"
                f" and the permissions, delete the file{remedy}"
            ) from error


def _make_private(path: str | Path) -> None:
    """Create a file that only the user may read, or take the permissions of others away."""
    # SQLite gives its journals the permissions of the file. A file that exists is not opened here: closing
    # it would end the locks of the other connections of this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    # Some file systems have no permissions.
    with suppress(PermissionError):
        if Path(path).is_file():
            Path(path).chmod(0o600)
