"""Locks between processes."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


def acquired(path: Path, waiting_for: str) -> FileLock:
    """Return a lock that this process holds; its folder is made if it does not exist.

    The operating system releases the lock of a process that is killed.

    Args:
        path: the file of the lock.
        waiting_for: what is waited for, for the log, if another process holds the lock.

    Raises:
        OSError: the file cannot be written.
        NotImplementedError: the disk does not support locks.
    """
    lock = FileLock(path, fallback_to_soft=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for %s", waiting_for)
        lock.acquire()
    return lock
