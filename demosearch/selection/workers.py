"""Sharing a study's work among processes and hosts.

A worker writes what it is about to score into the study and then looks who else did: whoever meets
another's claim steps back. So nothing is scored twice, whatever the order in which they write. A
claim ends when the worker says so, when its process is gone from this host, or when a worker of
another host has shown no sign of life for a while, by the observer's own clock: hosts need not agree
on the time.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import psutil

logger = logging.getLogger(__name__)

PREFIX = "worker:"
# Seconds between signs of life, and without one until a worker of another host is given up.
BEAT = 20.0
GRACE = 120.0


class Claims:
    """What one worker (a thread of a process) has claimed, and what the others have.

    Args:
        study: where claims are written.
        lane: number of the thread in its process.
    """

    def __init__(self, study: optuna.Study, lane: int) -> None:
        self._study = study
        self._key = f"{PREFIX}{_host()}/{os.getpid()}/{lane}"
        self._started = _started(psutil.Process())
        self._held: list[str] = []
        self._beats = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        # Last sign of life of workers elsewhere, and when it was first seen here.
        self._seen: dict[str, tuple[Any, float]] = {}
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()

    def claim(self, wanted: Sequence[str], most: int) -> list[str]:
        """Claim and return some of what is wanted; nothing if others hold all of it.

        What is returned must be checked once more: it may have been done between looking and claiming.
        """
        others = self._held_by_others()
        free = [each for each in wanted if each not in others]
        if free or self._held:
            self._write(free[:most])
        if met := self._held_by_others() & set(self._held):
            # Both may step back; the next try is at different moments.
            self._write([each for each in self._held if each not in met])
            time.sleep(random.uniform(0, 0.2))  # noqa: S311 - no secret
        return list(self._held)

    def release(self) -> None:
        """Give back what is held."""
        if self._held:
            self._write([])

    def close(self) -> None:
        """Give back what is held and end the signs of life."""
        self._closed.set()
        self._thread.join()
        # A storage that is gone keeps the claim until it is found stale.
        with suppress(Exception):
            self.release()

    def _write(self, held: list[str] | None = None) -> None:
        with self._lock:
            if held is not None:
                self._held = held
            self._beats += 1
            value = {"holds": self._held, "beat": self._beats, "started": self._started}
            self._study.set_user_attr(self._key, value)

    def _keep_beating(self) -> None:
        while not self._closed.wait(BEAT):
            if self._held:
                try:
                    self._write()
                except Exception as error:  # the work itself will meet it and say more
                    logger.debug("no sign of life could be written: %s", error)

    def _held_by_others(self) -> set[str]:
        held: set[str] = set()
        for key, value in self._study.user_attrs.items():
            if key.startswith(PREFIX) and key != self._key and self._alive(key, value):
                held.update(value["holds"])
        return held

    def _alive(self, key: str, value: dict[str, Any]) -> bool:
        host, pid, _ = key.removeprefix(PREFIX).rsplit("/", 2)
        if not value["holds"]:
            return False
        if host == _host():
            return _runs(int(pid), value["started"])
        sign = (value["started"], value["beat"])
        now = time.monotonic()
        before, since = self._seen.get(key, (None, now))
        if before != sign:
            since = now
        self._seen[key] = (sign, since)
        return now - since < GRACE


def _host() -> str:
    """Return what tells apart places that number their processes separately."""
    parts = [socket.gethostname()]
    # Cloned machines share a name, and the first space of processes has one number on all of them.
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    return " ".join(parts)


def _runs(pid: int, started: float) -> bool:
    """Whether the process is there, and is not a later one of the same number."""
    try:
        return abs(_started(psutil.Process(pid)) - started) < 1
    except psutil.Error:
        return False


def _started(process: psutil.Process) -> float:
    """Return the seconds from the machine's start to the process's, whatever the clock says."""
    return float(process.create_time() - psutil.boot_time())
