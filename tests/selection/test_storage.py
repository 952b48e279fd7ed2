from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path

import pytest

from demosearch import search
from demosearch.errors import UserError
from demosearch.selection.storage import close_storage, open_storage
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.postgresql import PostgreSQL


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("nosuchdb://me:secret@host/db", "cannot open the study storage nosuchdb://host/db: "),
        ("study.txt", "storage study.txt: no URL, and no journal file, whose name ends in .log"),
        # A mistyped URL.
        ("postgresql:/me:secret@host", "cannot open the study storage given: no URL"),
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
        ("/proc/study.log", "No such file or directory: /proc/study.log"),
        (
            "postgresql://me:secret@127.0.0.1:1/db",
            "storage postgresql://127.0.0.1:1/db: connection",
        ),
    ],
)
def test_what_cannot_be_opened_is_one_line_without_its_password(storage: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        open_storage(storage)
    assert message in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"pip install 'demosearch\[postgresql\]'"):
        open_storage("postgresql://host/db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database " * 100)
    with pytest.raises(UserError, match="file is not a database"):
        open_storage(f"sqlite:///{tmp_path / 'study.db'}")


class Interrupted(FakeEncoder):
    """Calls something once, before its third candidate."""

    def __init__(self, then: object) -> None:
        super().__init__()
        self._then = then

    def compare(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if len(self.encoded) == 3 and self._then:
            then, self._then = self._then, None
            then()  # type: ignore[operator]
        return super().compare(*arguments, **options)


@pytest.mark.postgresql
def test_a_database_that_is_away_for_a_while_is_waited_for(
    postgresql: PostgreSQL, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    def take_away() -> None:
        postgresql.stop()
        threading.Thread(target=bring_back).start()

    def bring_back() -> None:
        time.sleep(2)
        postgresql.start()

    candidates, dev = fake_candidates([30, 80, 5, 60, 20, 70]), fake_pairs(240)
    encoder, alone = Interrupted(take_away), FakeEncoder()
    found = search(encoder, candidates, dev, folder=tmp_path, storage=postgresql.url).file
    assert "the study's database is away, waiting for it: connection" in caplog.text
    assert found.ranking == search(alone, candidates, dev, folder=tmp_path / "alone").file.ranking
    assert encoder.encoded == alone.encoded


def test_a_kill_while_the_tables_are_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("optuna.storages._rdb.storage._VersionManager", kill)
        with pytest.raises(KeyboardInterrupt):
            open_storage(url)
    assert not list(tmp_path.iterdir())
    close_storage(open_storage(url))
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]
