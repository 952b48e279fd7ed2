"""Opening what keeps a study: a database, or a journal file on a disk that workers share."""

from __future__ import annotations

import logging
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity import wait_random_exponential as waits

from demosearch._common.files import sweep, umask
from demosearch.errors import UserError, reason_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

logger = logging.getLogger(__name__)

# A storage that ends so and is no URL is a journal file.
JOURNAL = ".log"
# Seconds that a database which has gone away is waited for, less than the silence after which workers
# give each other up; and seconds between two looks at most.
PATIENCE = 90.0
_PAUSE = 5.0
# Seconds after which the lock of a journal is taken from a worker that may be dead.
_GRACE = 30
# Seconds that a worker waits for another's write before SQLite gives up.
_PATIENCE_OF_SQLITE = 60
# Tries to open a storage that others may be making.
_OPENINGS = 6
_DRIVERS = {
    "psycopg": "'demosearch[postgresql]'",
    "pymysql": "'demosearch[mysql]'",
    "MySQLdb": "'demosearch[mysql]', and write mysql+pymysql://",
}


def open_storage(storage: str) -> optuna.storages.BaseStorage:
    """Return an open storage, made where it is not there yet.

    A database that goes away later, be it for a restart, is waited for.

    Args:
        storage: a URL as SQLAlchemy takes it, or the path of a journal file, `*.log`.

    Raises:
        UserError: it cannot be opened; its password is not in the message.
    """
    with reported(storage):
        return _open_database(storage) if "://" in storage else _open_journal(storage)


def close_storage(storage: optuna.storages.BaseStorage) -> None:
    """Close a storage's connections."""
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def reported(storage: str | optuna.storages.BaseStorage) -> Iterator[None]:
    """Say in one line why a storage cannot be opened, or its study not be made.

    Raises:
        UserError: in place of what the storage raises.
    """
    try:
        yield
    except StorageInternalError as error:
        raise UserError(_cannot(storage, reason_of(error.__cause__ or error))) from error
    except (SQLAlchemyError, ValueError, ImportError, OSError, RuntimeError) as error:
        raise UserError(_cannot(storage, _hint(error))) from error


def hidden(storage: str | optuna.storages.BaseStorage) -> str:
    """Return the name of a storage without user, password and options, which may hold a password.

    The name of a storage object is its class.

    >>> hidden("postgresql://me:secret@host:5432/optuna?password=secret")
    'postgresql://host:5432/optuna'
    """
    if not isinstance(storage, str):
        return type(storage).__name__
    scheme, separator, _ = storage.partition("://")
    if not separator:
        # A mistyped URL may hold a password all the same.
        return "given" if "@" in storage else storage
    try:
        url = make_url(storage)
    except (ArgumentError, ValueError):
        return f"{scheme}://..."
    if "@" in (url.host or ""):
        return f"{scheme}://..."
    return str(URL.create(url.drivername, host=url.host, port=url.port, database=url.database))


def _cannot(storage: str | optuna.storages.BaseStorage, reason: str) -> str:
    return f"cannot open the study storage {hidden(storage)}: {reason}"


def _open_journal(path: str) -> optuna.storages.BaseStorage:
    if not path.endswith(JOURNAL):
        raise ValueError(f"no URL, and no journal file, whose name ends in {JOURNAL}")
    # The lock is a symbolic link to the file, which only an absolute path makes a good one.
    file = Path(path).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(str(file), lock_obj=_WholeLines(file)))


class _WholeLines(JournalFileSymlinkLock):
    """A journal's lock, under which the journal never ends in half a line.

    A full disk or a kill may leave one, to which the next writer's line would be glued.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal), grace_period=_GRACE)
        self._journal = journal

    def acquire(self) -> bool:
        """Take the lock."""
        taken = super().acquire()
        self._cut()
        return taken

    def release(self) -> None:
        """Give the lock back."""
        try:
            self._cut()
        finally:
            super().release()

    def _cut(self) -> None:
        """Drop what stands behind the last line feed."""
        with self._journal.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            if file.read() in (b"", b"\n"):
                return
            start = end
            while start:
                begin = max(0, start - (1 << 16))
                file.seek(begin)
                block = file.read(start - begin)
                if (found := block.rfind(b"\n")) >= 0:
                    start = begin + found + 1
                    break
                start = begin
            file.truncate(start)


def _open_database(storage: str) -> optuna.storages.BaseStorage:
    """Return an open database.

    Of several workers that start at once more than one finds it missing and makes its tables; those
    that come too late fail, and find them at the next try.
    """
    url = make_url(storage)
    if "@" in (url.host or ""):
        raise ValueError("an @ in a user's name or password is written %40")
    is_file = url.get_backend_name() == "sqlite"
    if is_file:
        _make_sqlite(url.database)
        options: dict[str, Any] = {"connect_args": {"timeout": _PATIENCE_OF_SQLITE}}
    else:
        options = {"pool_pre_ping": True}
    for attempt in range(1, _OPENINGS + 1):
        try:
            database = optuna.storages.RDBStorage(storage, engine_kwargs=options)
            break
        except DBAPIError:
            if attempt == _OPENINGS:
                raise
            time.sleep(attempt * random.uniform(0.1, 0.3))  # noqa: S311 - no secret
    if not is_file:
        # Only now: a storage that cannot be opened at the start is an error.
        event.listen(database.engine, "do_connect", _Patience().connect)
    return database


def _make_sqlite(name: str | None) -> None:
    """Make the file of a SQLite database that is not there yet.

    Its tables are made one by one, and a kill or a full disk in between would leave some without what
    belongs to them. So they are made elsewhere, and all are there at once.
    """
    path = Path(name or "")
    if not name or name.startswith(("file:", ":")) or path.exists() or not path.parent.is_dir():
        return
    sweep(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        close_storage(optuna.storages.RDBStorage(f"sqlite:///{temporary}"))
        # Another worker may have been faster; and where a file system has no hard links, the tables
        # are made in their place after all.
        with suppress(OSError):
            path.hardlink_to(temporary)
            path.chmod(0o666 & ~umask())
    finally:
        Path(temporary).unlink(missing_ok=True)


class _Patience:
    """Waits for a database that is away, all of a storage's threads until the same moment."""

    def __init__(self) -> None:
        self._until: float | None = None

    def connect(
        self, dialect: Dialect, _configuration: ConnectionPoolEntry, arguments: Any, options: Any
    ) -> Any:
        """Return a new connection; while there is none it is tried again and again."""
        until = self._until or time.monotonic() + PATIENCE
        self._until = until
        tries = Retrying(
            retry=retry_if_exception_type(dialect.loaded_dbapi.OperationalError),
            wait=waits(max=_PAUSE),
            stop=lambda _: time.monotonic() > until,
            before_sleep=_say,
            reraise=True,
        )
        connection = tries(dialect.connect, *arguments, **options)
        self._until = None
        return connection


def _say(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome:
        logger.warning(
            "the study's database is away, waiting for it: %s", reason_of(state.outcome.exception())
        )


def _hint(error: Exception) -> str:
    # Optuna says nothing of which module it is that is missing.
    module = getattr(error.__cause__ if isinstance(error, ImportError) else None, "name", None)
    if module is None:
        return reason_of(error)
    return f"{module} is missing; run: pip install {_DRIVERS.get(module, module)}"
