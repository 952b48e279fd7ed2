"""A PostgreSQL server of its own for a test, on loopback, that can be taken away and brought back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

# PostgreSQL refuses to run as root; its package makes this account.
_ACCOUNT = "postgres"


def binaries() -> Path | None:
    """Return the folder of the server's programs, or None where it is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    # Debian keeps them out of the path, a folder a version.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


class PostgreSQL:
    """A server with one empty database, used in a with statement.

    Attributes:
        url: of the database, as SQLAlchemy takes it.
    """

    def __init__(self) -> None:
        programs = binaries()
        assert programs, "PostgreSQL is not installed"
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self._as: dict[str, Any] = {"cwd": self._folder}
        if os.getuid() == 0:
            shutil.chown(self._folder, _ACCOUNT)
            self._as["user"] = _ACCOUNT
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"postgresql://tester@127.0.0.1:{self._port}/postgres"
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgreSQL:
        options = ["-D", str(self._folder / "data"), "-U", "tester", "-A", "trust", "--no-sync"]
        subprocess.run(
            [self._programs / "initdb", *options], check=True, capture_output=True, **self._as
        )
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
        """Start it, and return when it answers."""
        options = ["-h", "127.0.0.1", "-p", str(self._port), "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *options],
                stdout=log,
                stderr=log,
                **self._as,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop it at once; whoever is connected is cut off."""
        if self._server:
            # Its fast way: it waits for nobody.
            self._server.send_signal(signal.SIGINT)
            self._server.wait(60)
            self._server = None
