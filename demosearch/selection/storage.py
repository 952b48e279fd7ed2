"""The storage of a study: a database, or a journal file on a shared disk."""

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

from demosearch._common.extras import missing_extra
from demosearch._common.files import sweep, umask
from demosearch.errors import UserError, reason_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

logger = logging.getLogger(__name__)

# The suffix of a journal file.
JOURNAL = ".log"
# Seconds to wait for a database that does not answer; less than the seconds after which the other workers
# take over the work of this one (`workers.GRACE`).
PATIENCE = 90.0
# Maximum number of seconds between two attempts.
_PAUSE = 5.0
# Seconds after which the lock of a journal file is taken from a worker that may be dead.
_GRACE = 30
# Seconds to wait for another worker's write to a SQLite file.
_SQLITE_TIMEOUT = 60
# Attempts to open a database that other workers may be creating.
_ATTEMPTS = 6
# Drivers by module: the database and the extra that installs the driver.
_DRIVERS = {
    "psycopg": ("PostgreSQL", "postgresql"),
    "pymysql": ("MySQL", "mysql"),
    "MySQLdb": ("MySQL, as mysql+pymysql://,", "mysql"),
}


def open_storage(storage: str) -> optuna.storages.BaseStorage:
    """Open a storage; create it if it does not exist.

    If a database server is restarted later, the storage waits for it.

    Args:
        storage: a URL as SQLAlchemy takes it, or the path of a journal file, `*.log`.

    Raises:
        UserError: the storage cannot be opened; the message does not contain its password.
    """
    with reported(storage):
        return _open_database(storage) if "://" in storage else _open_journal(storage)


def close_storage(storage: optuna.storages.BaseStorage) -> None:
    """Close the connections of a storage."""
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def reported(storage: str | optuna.storages.BaseStorage) -> Iterator[None]:
    """Report on one line why a storage cannot be opened, or its study cannot be created.

    Raises:
        UserError: instead of the storage's own error.
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
        # A mistyped URL may contain a password.
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
        raise ValueError(f"it must be a URL, or the path of a journal file that ends in {JOURNAL}")
    # The lock is a symbolic link to the file, which must be absolute to be valid.
    file = Path(path).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(str(file), lock_obj=_WholeLines(file)))


class _WholeLines(JournalFileSymlinkLock):
    """The lock of a journal file, which removes an incomplete last line.

    A full disk or a kill may leave one, and the next writer would append its line to it.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal), grace_period=_GRACE)
        self._journal = journal

    def acquire(self) -> bool:
        """Acquire the lock."""
        is_acquired = super().acquire()
        self._truncate()
        return is_acquired

    def release(self) -> None:
        """Release the lock."""
        try:
            self._truncate()
        finally:
            super().release()

    def _truncate(self) -> None:
        """Remove the text after the last line feed."""
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
                if (line_feed := block.rfind(b"\n")) >= 0:
                    start = begin + line_feed + 1
                    break
                start = begin
            file.truncate(start)


def _open_database(storage: str) -> optuna.storages.BaseStorage:
    """Open a database; create its tables if they do not exist.

    Several workers that start at once may all try to create the tables. Optuna fails in all but one of
    them, and succeeds at the next attempt.
    """
    url = make_url(storage)
    if "@" in (url.host or ""):
        raise ValueError("an @ in a user name or password must be written %40")
    is_file = url.get_backend_name() == "sqlite"
    if is_file:
        _create_sqlite(url.database)
        options: dict[str, Any] = {"connect_args": {"timeout": _SQLITE_TIMEOUT}}
    else:
        options = {"pool_pre_ping": True}
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            database = optuna.storages.RDBStorage(storage, engine_kwargs=options)
            break
        except DBAPIError:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(attempt * random.uniform(0.1, 0.3))  # noqa: S311 - no secret
    if not is_file:
        # Only from now on: a database that cannot be opened at the start is an error.
        event.listen(database.engine, "do_connect", _Patience().connect)
    return database


def _create_sqlite(name: str | None) -> None:
    """Create the file of a SQLite database if it does not exist.

    Optuna creates the tables one by one, so a kill or a full disk would leave some of them. They are
    created in a temporary file instead, which gets the name when it is complete.
    """
    path = Path(name or "")
    if not name or name.startswith(("file:", ":")) or path.exists() or not path.parent.is_dir():
        return
    sweep(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        close_storage(optuna.storages.RDBStorage(f"sqlite:///{temporary}"))
        # Another worker may have been faster. On a file system without hard links, Optuna creates the
        # tables in the file itself.
        with suppress(OSError):
            path.hardlink_to(temporary)
            path.chmod(0o666 & ~umask())
    finally:
        Path(temporary).unlink(missing_ok=True)


class _Patience:
    """Waits for a database that does not answer; all threads wait until the same moment."""

    def __init__(self) -> None:
        self._until: float | None = None

    def connect(
        self, dialect: Dialect, _configuration: ConnectionPoolEntry, arguments: Any, options: Any
    ) -> Any:
        """Return a new connection, after several attempts if necessary."""
        until = self._until or time.monotonic() + PATIENCE
        self._until = until
        retry = Retrying(
            retry=retry_if_exception_type(dialect.loaded_dbapi.OperationalError),
            wait=waits(max=_PAUSE),
            stop=lambda _: time.monotonic() > until,
            before_sleep=_warn,
            reraise=True,
        )
        connection = retry(dialect.connect, *arguments, **options)
        self._until = None
        return connection


def _warn(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome:
        logger.warning(
            "the study's database does not answer; waiting for it: %s",
            reason_of(state.outcome.exception()),
        )


def _hint(error: Exception) -> str:
    # Optuna does not name the missing module.
    module = getattr(error.__cause__ if isinstance(error, ImportError) else None, "name", None)
    if module is None:
        return reason_of(error)
    if module in _DRIVERS:
        return str(missing_extra(*_DRIVERS[module]))
    return f"{module} is not installed; run: pip install {module}"
