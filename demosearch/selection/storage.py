"""Opening what keeps a study: a database, or a journal file on a disk that workers share."""

from __future__ import annotations

import logging
import random
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity import stop_after_delay as after
from tenacity import wait_random_exponential as waits

from demosearch.errors import UserError, reason_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

logger = logging.getLogger(__name__)

# A storage that ends so and is no URL is a journal file.
JOURNAL = ".log"
# Seconds that a worker waits for a database that has gone away, and at most between two looks.
PATIENCE = 600.0
_PAUSE = 10.0
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
    try:
        if "://" not in storage:
            return _open_journal(storage)
        return _open_database(storage)
    except (SQLAlchemyError, ValueError, ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"cannot open the study storage {hidden(storage)}: {_hint(error)}"
        ) from error


def close_storage(storage: optuna.storages.BaseStorage) -> None:
    """Close a storage's connections."""
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def hidden(storage: str) -> str:
    """Return a storage without user, password and options, of which one may be a password.

    >>> hidden("postgresql://me:secret@host/optuna?password=secret")
    'postgresql://host/optuna'
    """
    scheme, separator, rest = storage.partition("://")
    if not separator:
        # A mistyped URL may hold a password all the same.
        return "given" if "@" in storage else storage
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


def _open_journal(path: str) -> optuna.storages.BaseStorage:
    if not path.endswith(JOURNAL):
        raise ValueError(f"no URL, and no journal file, whose name ends in {JOURNAL}")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(path))


def _open_database(url: str) -> optuna.storages.BaseStorage:
    """Return an open database.

    Of several workers that start at once more than one finds it missing and makes its tables; those
    that come too late fail, and find them at the next try.
    """
    if url.startswith("sqlite:"):
        _make_sqlite(url)
        options: dict[str, Any] = {"connect_args": {"timeout": _PATIENCE_OF_SQLITE}}
    else:
        options = {"pool_pre_ping": True}
    for attempt in range(1, _OPENINGS + 1):
        try:
            database = optuna.storages.RDBStorage(url, engine_kwargs=options)
            break
        except DBAPIError:
            if attempt == _OPENINGS:
                raise
            time.sleep(attempt * random.uniform(0.1, 0.3))  # noqa: S311 - no secret
    if not url.startswith("sqlite:"):
        # Only now: what was wrong from the start is not waited for.
        event.listen(database.engine, "do_connect", _connect_patiently)
    return database


def _make_sqlite(url: str) -> None:
    """Make the file of a SQLite database that is not there yet.

    Its tables are made one by one, and a kill or a full disk in between would leave some without what
    belongs to them. So they are made elsewhere, and all are there at once.
    """
    name = make_url(url).database
    path = Path(name or "")
    if not name or name == ":memory:" or path.exists() or not path.parent.is_dir():
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder) / path.name
        close_storage(optuna.storages.RDBStorage(f"sqlite:///{made}"))
        # Another worker may have been faster.
        with suppress(FileExistsError):
            path.hardlink_to(made)


def _connect_patiently(
    dialect: Dialect, _entry: ConnectionPoolEntry, arguments: Any, options: Any
) -> Any:
    """Return a new connection; a database that is away is asked again and again."""
    away = dialect.loaded_dbapi.OperationalError
    tries = Retrying(
        retry=retry_if_exception_type(away),
        wait=waits(max=_PAUSE),
        stop=after(PATIENCE),
        before_sleep=_say,
        reraise=True,
    )
    return tries(dialect.connect, *arguments, **options)


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
