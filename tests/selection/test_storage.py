from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial
from sqlalchemy import event

from demosearch import search
from demosearch.errors import UserError
from demosearch.selection import storage
from demosearch.selection.storage import close_storage, open_storage
from tests.databases import EACH, Server, opened
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.selection.searches import DEV, NOISES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nosuchdb://me:secret@host/db", "cannot open the study storage nosuchdb://host/db: "),
        ("study.txt", "storage study.txt: no URL, and no journal file, whose name ends in .log"),
        ("postgresql://host/db?password=se@cret", "storage postgresql://host/db: "),
        ("postgresql://me:sec@ret@host/db", "postgresql://...: an @ in a user's name or password"),
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
def test_what_cannot_be_opened_is_one_line_without_its_password(given: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        open_storage(given)
    assert message in str(error.value)
    assert not any(part in str(error.value) for part in ("secret", "cret@", "@cret", "ret@"))
    assert "\n" not in str(error.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"pip install 'demosearch\[postgresql\]'"):
        open_storage("postgresql://host/db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database " * 100)
    with pytest.raises(UserError, match="file is not a database"):
        open_storage(f"sqlite:///{tmp_path / 'study.db'}")


def statements(database: optuna.storages.RDBStorage, trial: FrozenTrial) -> tuple[FrozenTrial, int]:
    """Return a trial as a study has it once it was added, and how many statements that took."""
    study = optuna.create_study(storage=database)
    said: list[object] = []
    event.listen(database.engine, "before_cursor_execute", lambda *_: said.append(1))
    study.add_trial(trial)
    number = len(said)
    (found,) = optuna.load_study(study_name=study.study_name, storage=database).trials
    return found, number


@pytest.fixture(params=["sqlite:///{}/study.db", *EACH])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Every kind of database in turn."""
    with opened(request.param, tmp_path) as url:
        yield url


def test_a_trial_is_written_as_optuna_writes_it_in_fewer_statements(database: str) -> None:
    trial = optuna.trial.create_trial(
        value=79.5,
        params={"candidate": 3},
        distributions={"candidate": optuna.distributions.IntDistribution(0, 9)},
        user_attrs={f"word {number}": ["'\"%", number, None] for number in range(10)},
        system_attrs={"similarities:0": "a" * 60_000},
        intermediate_values={100: 75.25, 1500: 79.5},
    )
    ours, theirs = open_storage(database), optuna.storages.RDBStorage(database)
    assert isinstance(ours, optuna.storages.RDBStorage)
    found, few = statements(ours, trial)
    wanted, many = statements(theirs, trial)
    close_storage(ours)
    close_storage(theirs)
    # An identity and a place in the study apart, they are the same.
    assert found.user_attrs == wanted.user_attrs == trial.user_attrs
    assert found.system_attrs == wanted.system_attrs == trial.system_attrs
    assert found.intermediate_values == wanted.intermediate_values == trial.intermediate_values
    assert (found.value, found.params, found.state) == (wanted.value, wanted.params, wanted.state)
    assert found.datetime_complete == wanted.datetime_complete
    # Ten attributes are one statement, and not three each.
    assert few < many - 20


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


@pytest.fixture(params=EACH)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Every kind of database server in turn."""
    with request.param() as running:
        yield running


def test_a_database_that_is_away_for_a_while_is_waited_for(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    def bring_back() -> None:
        time.sleep(2)
        server.start()

    helper = threading.Thread(target=bring_back)

    def take_away() -> None:
        server.stop()
        helper.start()

    candidates, dev = fake_candidates([30, 80, 5, 60, 20, 70]), fake_pairs(240)
    encoder, alone = Interrupted(take_away), FakeEncoder()
    found = search(encoder, candidates, dev, folder=tmp_path, storage=server.url).file
    helper.join()
    assert "the study's database is away, waiting for it: " in caplog.text
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


def test_half_a_line_of_a_journal_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    candidates, dev = fake_candidates([30, 80, 5, 60, 20, 70]), fake_pairs(240)
    encoder, again = FakeEncoder(), FakeEncoder()
    # A relative path in a folder, whose lock a killed worker may have left.
    whole = search(encoder, candidates, dev, folder=tmp_path, storage="runs/study.log").file
    journal = tmp_path / "runs" / "study.log"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "x", "study_')
    found = search(again, candidates, dev, folder=tmp_path, storage="runs/study.log").file
    assert not again.encoded
    assert found.ranking == whole.ranking
    assert journal.read_bytes().endswith(b"}\n")


def test_a_lock_that_was_left_is_broken_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "_GRACE", 3)
    optuna.create_study(storage=open_storage("runs/study.log"), study_name="first")
    journal = tmp_path / "runs" / "study.log"
    journal.with_name("study.log.lock").symlink_to(journal)
    optuna.create_study(storage=open_storage("runs/study.log"), study_name="second")
    assert not journal.with_name("study.log.lock").is_symlink()


def test_a_file_system_without_hard_links_does_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    close_storage(open_storage(f"sqlite:///{tmp_path / 'study.db'}"))
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.usefixtures("fewer_resamples")
def test_a_bad_storage_is_one_line_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        search(
            FakeEncoder(),
            fake_candidates(NOISES),
            DEV,
            folder=tmp_path,
            storage="nosuchdb://me:secret@host/db",
        )
    assert "nosuchdb://host/db" in str(error.value)
    assert "secret" not in str(error.value)
