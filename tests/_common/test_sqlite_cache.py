from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from demosearch._common.sqlite_cache import SqliteCache
from demosearch.errors import UserError

TABLES = {
    "vectors": ("text TEXT", "vector BLOB NOT NULL"),
    "words": ("key TEXT", "word TEXT NOT NULL", "count INTEGER NOT NULL"),
}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SqliteCache]:
    with closing(open_cache(tmp_path)) as cache:
        yield cache


def open_cache(folder: Path) -> SqliteCache:
    return SqliteCache(folder / "new" / "c.sqlite", TABLES, "cache of words", "use --no-cache")


def test_rows_are_read_as_they_were_written(cache: SqliteCache, tmp_path: Path) -> None:
    cache.put_many("vectors", {"a": (b"\0\1",), "b": (b"",)})
    cache.put_many("words", {"a": ("Ähre", 3)})
    assert cache.get_many("vectors", ["b", "missing", "a"]) == {"a": (b"\0\1",), "b": (b"",)}
    with closing(open_cache(tmp_path)) as other:
        assert other.get_many("words", ["a"]) == {"a": ("Ähre", 3)}
    assert cache.get_many("words", []) == {}


def test_a_row_is_replaced_by_a_newer_one(cache: SqliteCache) -> None:
    cache.put_many("words", {"a": ("Old", 1)})
    cache.put_many("words", {"a": ("New", 2)})
    assert cache.get_many("words", ["a"]) == {"a": ("New", 2)}


def test_a_failing_row_leaves_no_part_of_its_transaction(cache: SqliteCache) -> None:
    with pytest.raises(UserError, match=r"cannot write to the cache of words .*NOT NULL"):
        cache.put_many("words", {"a": ("Good", 1), "b": (None, 1)})
    assert cache.get_many("words", ["a", "b"]) == {}


def test_many_keys_are_read_at_once(cache: SqliteCache) -> None:
    rows = {f"{number}": (f"word{number}", number) for number in range(40_000)}
    cache.put_many("words", rows)
    assert cache.get_many("words", rows) == rows


def write_rows(folder: Path, start: int) -> None:
    with closing(open_cache(folder)) as cache:
        for number in range(start, start + 20):
            cache.put_many("words", {str(number): ("word", number)})


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_rows, args=(tmp_path, 20 * n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with closing(open_cache(tmp_path)) as cache:
        assert len(cache.get_many("words", map(str, range(60)))) == 60


def test_several_threads_share_one_cache(cache: SqliteCache) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: cache.put_many("words", {str(n): ("word", n)}), range(50)))
    assert len(cache.get_many("words", map(str, range(50)))) == 50


def test_a_file_with_an_unknown_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE removed (key TEXT)")
        database.execute("CREATE TABLE words (key TEXT PRIMARY KEY, word TEXT, count INTEGER)")
        database.execute("INSERT INTO words VALUES ('a', 'Word', 1)")
    with closing(SqliteCache(path, TABLES, "cache")) as cache:
        assert cache.get_many("words", ["a"]) == {"a": ("Word", 1)}


def test_an_error_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_text("not a database" * 100)
    with pytest.raises(
        UserError,
        match=r"cannot open the cache of words .*c\.sqlite: file is not a database; .* delete the"
        r" file, or use --no-cache$",
    ):
        SqliteCache(path, TABLES, "cache of words", "use --no-cache")
    with pytest.raises(UserError, match="cannot open the cache of words"):
        SqliteCache(path / "below" / "c.sqlite", TABLES, "cache of words")
