from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from demosearch import search
from demosearch.errors import UserError
from demosearch.selection import storage
from demosearch.selection.storage import close_storage, open_storage
from tests.databases import EACH, Server
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.selection.searches import DEV, NOISES, search_in_memory, timeless

pytestmark = pytest.mark.usefixtures("fewer_resamples")


@pytest.fixture
def fewer_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try to open a database twice only."""
    monkeypatch.setattr(storage, "_ATTEMPTS", 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nosuchdb://me:secret@host/db", "cannot open the study storage nosuchdb://host/db: "),
        ("study.txt", "storage study.txt: it must be a URL, or the path of a journal file"),
        ("postgresql://host/db?password=se@cret", "storage postgresql://host/db: "),
        ("postgresql://me:sec@ret@host/db", "postgresql://...: an @ in a user name or password"),
        # A mistyped URL.
        ("postgresql:/me:secret@host", "cannot open the study storage given: it must be a URL"),
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
        ("/proc/study.log", "No such file or directory: /proc/study.log"),
        (
            "postgresql://me:secret@127.0.0.1:1/db",
            "storage postgresql://127.0.0.1:1/db: connection",
        ),
    ],
)
@pytest.mark.usefixtures("fewer_attempts")
def test_the_error_of_a_storage_is_one_line_without_its_password(given: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        open_storage(given)
    assert message in str(error.value)
    assert not any(part in str(error.value) for part in ("secret", "cret@", "@cret", "ret@"))
    assert "\n" not in str(error.value)


def test_the_extra_of_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"pip install 'demosearch\[postgresql\]'"):
        open_storage("postgresql://host/db")


@pytest.mark.usefixtures("fewer_attempts")
def test_a_file_that_is_not_a_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database " * 100)
    with pytest.raises(UserError, match="file is not a database"):
        open_storage(f"sqlite:///{tmp_path / 'study.db'}")


class Interrupted(FakeEncoder):
    """Calls a function once, before its third candidate."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        super().__init__()
        self._interrupt: Callable[[], None] | None = interrupt

    def compare(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if len(self.encoded) == 3 and self._interrupt:
            interrupt, self._interrupt = self._interrupt, None
            interrupt()
        return super().compare(*arguments, **options)


@pytest.fixture(scope="module", params=EACH)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running database server, of each kind."""
    with request.param() as running:
        yield running


def test_a_search_waits_for_a_database_that_is_restarted(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    def start_again() -> None:
        time.sleep(1)
        server.start()

    helper = threading.Thread(target=start_again)

    def stop() -> None:
        server.stop()
        helper.start()

    candidates, dev = fake_candidates([30, 80, 5, 60, 20, 70]), fake_pairs(240)
    encoder, alone = Interrupted(stop), FakeEncoder()
    file = search(encoder, candidates, dev, folder=tmp_path, storage=server.url).file
    helper.join()
    assert "the study's database does not answer; waiting for it: " in caplog.text
    expected = search_in_memory(alone, tmp_path / "alone", candidates)
    assert file.ranking == expected.ranking
    assert encoder.encoded == alone.encoded


def test_a_kill_while_the_tables_are_created_leaves_no_file(
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


def test_an_incomplete_line_of_a_journal_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    candidates, dev = fake_candidates([30, 80, 5, 60, 20, 70]), fake_pairs(240)
    encoder, again = FakeEncoder(), FakeEncoder()
    # The lock is a link to the file, which a relative path would break.
    whole = search(encoder, candidates, dev, folder=tmp_path, storage="runs/study.log").file
    journal = tmp_path / "runs" / "study.log"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "x", "study_')
    resumed = search(again, candidates, dev, folder=tmp_path, storage="runs/study.log").file
    assert not again.encoded
    assert resumed.ranking == whole.ranking
    assert journal.read_bytes().endswith(b"}\n")


def test_the_lock_of_a_killed_worker_is_taken_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "_GRACE", 3)
    optuna.create_study(storage=open_storage("runs/study.log"), study_name="first")
    journal = tmp_path / "runs" / "study.log"
    journal.with_name("study.log.lock").symlink_to(journal)
    optuna.create_study(storage=open_storage("runs/study.log"), study_name="second")
    assert not journal.with_name("study.log.lock").is_symlink()


def test_a_file_system_without_hard_links_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    close_storage(open_storage(f"sqlite:///{tmp_path / 'study.db'}"))
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


def test_a_search_reports_a_storage_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        search_in_memory(FakeEncoder(), tmp_path, storage="nosuchdb://me:secret@host/db")
    assert "nosuchdb://host/db" in str(error.value)
    assert "secret" not in str(error.value)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The databases that were closed."""
    databases: list[object] = []
    close = RDBStorage.remove_session

    def record(self: RDBStorage) -> None:
        databases.append(self)
        close(self)

    monkeypatch.setattr(RDBStorage, "remove_session", record)
    return databases


@pytest.mark.parametrize(
    "create",
    [
        lambda folder: InMemoryStorage(),
        lambda folder: RDBStorage(f"sqlite:///{folder / 'theirs.db'}"),
        lambda folder: JournalStorage(JournalFileBackend(str(folder / "theirs.log"))),
    ],
    ids=["memory", "sqlite", "journal"],
)
def test_a_search_takes_an_optuna_storage_and_does_not_close_it(
    create: Callable[[Path], optuna.storages.BaseStorage], tmp_path: Path, closed: list[object]
) -> None:
    theirs, first, again = create(tmp_path), FakeEncoder(), FakeEncoder()
    files = [
        search_in_memory(encoder, tmp_path / "ours", storage=theirs, study_name="theirs")
        for encoder in (first, again)
    ]
    assert first.encoded
    assert not again.encoded
    assert timeless(files[0]) == timeless(files[1])
    assert not (tmp_path / "ours" / "study.db").exists()
    assert theirs not in closed
    study = optuna.load_study(study_name="theirs", storage=theirs)
    assert study.best_trial.user_attrs["word"] == "W5"
    with pytest.raises(UserError, match=rf"in {type(theirs).__name__} was made with different"):
        search_in_memory(again, tmp_path, storage=theirs, study_name="theirs", seed=1)


def test_a_search_closes_the_storage_that_it_opened(tmp_path: Path, closed: list[object]) -> None:
    search(FakeEncoder(), fake_candidates(NOISES[:3]), DEV, folder=tmp_path)
    # The database in which the tables are created, and the study's.
    assert len(closed) == 2


def test_another_value_than_a_storage_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"storage must be an Optuna storage, a URL, .* but got"):
        search_in_memory(FakeEncoder(), tmp_path, storage=tmp_path / "study.log")
