"""Database servers for tests, on the loopback interface, that can be stopped and restarted."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import psycopg
import pymysql
import pytest


class Server(ABC):
    """A server with one empty database, used in a with statement.

    Attributes:
        programs: folder of the server's programs; None if it is not installed.
    """

    programs: ClassVar[Path | None]
    # Servers refuse to run as root; their packages create these accounts.
    _account: ClassVar[str]
    # Stops the server without waiting for its connections.
    _stop: ClassVar[signal.Signals]

    def __init__(self) -> None:
        assert self.programs, f"{type(self).__name__}'s server is not installed"
        self._folder = Path(tempfile.mkdtemp(prefix="database-"))
        self._data = self._folder / "data"
        self._as: dict[str, Any] = {"cwd": self._folder}
        if os.getuid() == 0:
            shutil.chown(self._folder, self._account)
            self._as["user"] = self._account
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
        self._server: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL of the database for SQLAlchemy."""

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Return the command that creates the data folder."""

    @abstractmethod
    def _serve(self) -> list[str]:
        """Return the command that starts the server."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server accepts connections and its database exists."""

    def __enter__(self) -> Server:
        subprocess.run(self._prepare(), check=True, capture_output=True, **self._as)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start the server, and return when it answers."""
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(self._serve(), stdout=log, stderr=log, **self._as)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server at once; its connections are lost."""
        if self._server:
            self._server.send_signal(self._stop)
            self._server.wait(60)
            self._server = None

    def _program(self, name: str) -> str:
        return str((self.programs or Path()) / name)


def _folder_of(program: str, *elsewhere: Path) -> Path | None:
    """Return the folder of a program, from PATH or from some other paths."""
    if path := shutil.which(program):
        return Path(path).parent
    installed = [path for path in elsewhere if path.is_file()]
    return installed[-1].parent if installed else None


class PostgreSQL(Server):
    """PostgreSQL."""

    # Debian installs the programs of each version in a folder outside PATH.
    programs = _folder_of("initdb", *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    _account = "postgres"
    _stop = signal.SIGINT

    @property
    def url(self) -> str:
        return f"postgresql://tester@127.0.0.1:{self._port}/postgres"

    def _prepare(self) -> list[str]:
        options = ["-U", "tester", "-A", "trust", "--no-sync"]
        return [self._program("initdb"), "-D", str(self._data), *options]

    def _serve(self) -> list[str]:
        folders = ["-D", str(self._data), "-k", str(self._folder)]
        return [self._program("postgres"), *folders, "-h", "127.0.0.1", "-p", self._port]

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url).close()
            return True
        return False


class MySQL(Server):
    """MariaDB, which clients use as MySQL."""

    # /usr/sbin may not be in a user's PATH.
    programs = _folder_of("mariadbd", Path("/usr/sbin/mariadbd"))
    _account = "mysql"
    _stop = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"mysql+pymysql://tester@127.0.0.1:{self._port}/optuna"

    def _prepare(self) -> list[str]:
        program = shutil.which("mariadb-install-db") or "mariadb-install-db"
        return [program, "--no-defaults", f"--datadir={self._data}", "--skip-test-db"]

    def _serve(self) -> list[str]:
        files = [f"--datadir={self._data}", f"--socket={self._folder / 'socket'}"]
        files += [f"--pid-file={self._folder / 'pid'}", f"--port={self._port}"]
        # The server is reachable from this host only, so it needs no authentication.
        options = ["--no-defaults", "--bind-address=127.0.0.1", "--skip-grant-tables"]
        return [self._program("mariadbd"), *options, *files]

    def _answers(self) -> bool:
        with suppress(pymysql.OperationalError):
            connection = pymysql.connect(host="127.0.0.1", port=int(self._port), user="tester")
            with connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE IF NOT EXISTS optuna")
            return True
        return False


@contextmanager
def opened(kind: str | type[Server], folder: Path) -> Iterator[str]:
    """Yield the URL of a storage: of a server that is started, or of a file in a folder (`{}`)."""
    if isinstance(kind, str):
        yield kind.format(folder)
    else:
        with kind() as server:
            yield server.url


SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "mysql": MySQL}
# The servers as parameters of a test.
EACH = [pytest.param(each, marks=getattr(pytest.mark, name)) for name, each in SERVERS.items()]
