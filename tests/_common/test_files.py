from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from demosearch._common.files import atomic_write, check_writable, write_json
from demosearch.errors import UserError


def test_a_file_is_replaced_only_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with atomic_write(path) as file:
        file.write("first")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write("second")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "first"
    assert [child.name for child in path.parent.iterdir()] == ["file.txt"]


def test_leftovers_of_killed_processes_are_deleted_after_an_hour(tmp_path: Path) -> None:
    for name in (".a.json.dead.tmp", ".a.json.new.tmp", ".b.json.dead.tmp"):
        (tmp_path / name).write_text("")
        if "dead" in name:
            os.utime(tmp_path / name, (time.time() - 7200, time.time() - 7200))
    with atomic_write(tmp_path / "a.json") as file:
        file.write("{}")
    names = {path.name for path in tmp_path.iterdir()}
    # Files that another worker may be writing, and those of another file, are kept.
    assert names == {"a.json", ".a.json.new.tmp", ".b.json.dead.tmp"}


def test_an_error_of_writing_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"cannot write .*file/x\.json: "),
        atomic_write(tmp_path / "file" / "x.json"),
    ):
        pass


def test_a_folder_that_is_not_writable_is_reported_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "new" / "deep" / "file.json")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*x\.json: .*file is not a folder"):
        check_writable(tmp_path / "file" / "new" / "x.json")
    # As on a file system that is mounted read-only; a superuser may write anywhere else.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match=r"x\.json: the folder .* is not writable"):
        check_writable(tmp_path / "new" / "x.json")


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    value = {"a": [1.5, float("nan")], "b": {"c": (float("inf"), -1, None)}, "d": "NaN"}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == {
        "a": [1.5, None],
        "b": {"c": [None, -1, None]},
        "d": "NaN",
    }
