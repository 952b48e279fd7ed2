from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from demosearch.candidates.responses import Response, ResponseCache, question_key
from demosearch.errors import UserError
from tests.candidates.conftest import KEY


def test_answers_are_cached_by_their_questions(tmp_path: Path) -> None:
    with closing(ResponseCache(tmp_path / "answers.sqlite")) as cache:
        cache.put("a", Response("Riding", 100, 5))
        cache.put("b", Response('{"refusal": "No {x."}'))
    with closing(ResponseCache(tmp_path / "answers.sqlite")) as cache:
        assert cache.get("a") == Response("Riding", 100, 5)
        assert cache.get("c") is None
        assert cache.get_many(["c", "b", "a"]) == {
            "a": Response("Riding", 100, 5),
            "b": Response('{"refusal": "No {x."}', 0, 0),
        }


def test_a_cache_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, sent INTEGER NOT NULL,"
            " received INTEGER NOT NULL);"
            "CREATE TABLE batches (key TEXT PRIMARY KEY, id TEXT NOT NULL);"
            "INSERT INTO answers VALUES ('k', 'Riding', 100, 5);"
            "INSERT INTO batches VALUES ('b', 'batch-1');"
        )
    with closing(ResponseCache(path)) as cache:
        assert cache.get("k") == Response("Riding", 100, 5)
        cache.put("l", Response("Rest"))
        assert cache.get("l") == Response("Rest", 0, 0)


@pytest.mark.parametrize("text", ["", " ", '{"word": "Ri', '"Ri', "```\nRi", "<think>A ho"])
def test_what_earlier_versions_kept_without_an_answer_is_missing(tmp_path: Path, text: str) -> None:
    with closing(ResponseCache(tmp_path / "answers.sqlite")) as cache:
        cache.put("k", Response(text, 1, 1))
        assert cache.get("k") is None
        assert cache.get_many(["k"]) == {}


def test_a_key_that_an_earlier_version_kept_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with closing(ResponseCache(tmp_path / "answers.sqlite")) as cache:
        cache.put("k", Response(KEY))
        assert cache.get("k") == Response("***")


def test_keys_of_an_earlier_version_are_the_same() -> None:
    key = question_key("https://api.openai.com/v1/", "gpt-4o-mini", "1", "A cat sleeps.", "0")
    assert key == "88919b84f3e5dc5457d0d68cd9b17ccd9b1ee9c9f4a57bee0f19f988adef4350"


def test_a_cache_that_cannot_be_opened_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database" * 100)
    for path in (tmp_path / "file" / "answers.sqlite", tmp_path / "file"):
        with pytest.raises(
            UserError, match=r"cannot open the cache of answers .* set DEMOSEARCH_CACHE"
        ):
            ResponseCache(path)
