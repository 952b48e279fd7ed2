"""Sharing a study's work among threads, processes and hosts.

A worker writes what it is about to score, its claims, into the study and then reads the claims of the other
workers. If another worker has claimed the same, it withdraws its claim. So nothing is scored twice, in
whatever order they write. A claim ends when the worker releases it, when its process has ended on this
host, or when a worker of another host has not changed its claim for a while. The reader's own clock
measures that time, so the clocks of the hosts need not agree.

Optuna's own queue (`enqueue_trial`, `ask` and heartbeats; Optuna 5.0) was tried instead, and is not
sufficient:

- `JournalStorage` has no heartbeats, so the trials of a killed worker would stay RUNNING forever.
- SQLite ignores `SELECT ... FOR UPDATE`: three processes that took 32 waiting trials from one SQLite file
  took 39, so seven were taken twice.
- `enqueue_trial(skip_if_exists=True)` is not atomic: two workers that finished a rung at the same time and
  enqueued the same 20 configurations of the next one made 32 trials in SQLite, and 21 in a journal file.
- Heartbeats detect a killed process only after the grace period, also on the same host.
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
# Seconds between two heartbeats of a worker.
BEAT = 20.0
# Seconds without a heartbeat after which the claims of a worker of another host end.
GRACE = 120.0


class Claims:
    """The claims of one worker: a thread of a process.

    Args:
        study: stores the claims of all workers.
        thread: index of the thread in its process.
    """

    def __init__(self, study: optuna.Study, thread: int) -> None:
        self._study = study
        self._key = f"{PREFIX}{_host()}/{os.getpid()}/{thread}"
        self._started = _started(psutil.Process())
        self._held: list[str] = []
        self._beats = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        # The last heartbeat of each worker of another host, and when this worker read it first.
        self._seen: dict[str, tuple[Any, float]] = {}
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()

    def claim(self, wanted: Sequence[str], limit: int) -> list[str]:
        """Claim some tasks in place of those that are held, and return them.

        Another worker may have finished a task before it was claimed, so the caller must check again.

        Args:
            wanted: names of the tasks.
            limit: maximum number of tasks to claim.

        Returns:
            Names of tasks; none if the other workers hold all of them.
        """
        others = self._held_by_others()
        free = [task for task in wanted if task not in others]
        if free or self._held:
            self._write(free[:limit])
        if conflicts := self._held_by_others() & set(self._held):
            # Both workers may withdraw; they try again at different moments.
            self._write([task for task in self._held if task not in conflicts])
            time.sleep(random.uniform(0, 0.2))  # noqa: S311 - no secret
        return list(self._held)

    def release(self) -> None:
        """Release all claims."""
        if self._held:
            self._write([])

    def close(self) -> None:
        """Release all claims and end the heartbeats."""
        self._closed.set()
        self._thread.join()
        # Without the storage, the claims end when the other workers miss the heartbeats.
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
                except Exception as error:  # the worker itself will meet and report it
                    logger.debug("a heartbeat could not be written: %s", error)

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
        heartbeat = (value["started"], value["beat"])
        now = time.monotonic()
        last, since = self._seen.get(key, (None, now))
        if last != heartbeat:
            since = now
        self._seen[key] = (heartbeat, since)
        return now - since < GRACE


def _host() -> str:
    """Return a name of this host; containers that number their processes separately differ in it."""
    parts = [socket.gethostname()]
    # Cloned machines share a host name, and their first process namespaces share a number.
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    return " ".join(parts)


def _runs(pid: int, started: float) -> bool:
    """Whether a process is running that has this id and this start time."""
    try:
        return abs(_started(psutil.Process(pid)) - started) < 1
    except psutil.Error:
        return False


def _started(process: psutil.Process) -> float:
    """Return the seconds from the start of the machine to the start of a process."""
    return float(process.create_time() - psutil.boot_time())
