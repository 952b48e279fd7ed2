"""Writing files so that a reader never meets half of one, and naming data by its hash."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from demosearch.errors import UserError

# Seconds after which what was not written further is a killed process's.
_STALE = 3600


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that takes the place of `path` only once it is complete.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        encoding = None if "b" in mode else "utf-8"
        newline = None if "b" in mode else ""
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; what replaces `path` gets an ordinary file's mode.
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def sweep(path: Path) -> None:
    """Delete what killed processes left half written beside a file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        # Another worker may have been faster, or it is another user's.
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def check_writable(path: str | Path, *, folder: bool = False) -> None:
    """Check before long work that a file or folder can be made in the end.

    Args:
        path: what will be written.
        folder: it is a folder, and files are written into it.

    Raises:
        UserError: a folder stands where a file belongs, or the folder it would lie in, or the first
            above it that is there, takes no file.
    """
    path = Path(path)
    if not folder and path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    here = path.absolute()
    above = next(each for each in (*([here] if folder else []), *here.parents) if each.exists())
    if not above.is_dir():
        raise UserError(f"cannot write {path}: {above} is no folder")
    if not os.access(above, os.W_OK):
        raise UserError(f"cannot write {path}: the folder {above} cannot be written to")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path, what: str) -> Any:
    """Return what a JSON file holds.

    Args:
        path: the file.
        what: names it in errors.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} {path} is not JSON: {error}") from error


def parse_yaml(text: str, what: str) -> Any:
    """Return what YAML text says, by the safe loader.

    Raises:
        UserError: it is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{what} is not YAML: {error}") from error


def read_text(path: str | Path, what: str, *, fallback: str | None = None) -> str:
    """Return a UTF-8 file's text without a byte-order mark.

    Args:
        path: the file.
        what: names it in errors.
        fallback: the encoding of old files of the kind that are no UTF-8.

    Raises:
        UserError: the file is missing, unreadable, or not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        if fallback is not None:
            return Path(path).read_text(encoding=fallback)
        raise UserError(f"{what} {path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror or error}") from error


def sha256(parts: Iterable[str]) -> str:
    """Return the hex digest of strings, each ended by a line feed."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\n")
    return digest.hexdigest()


def umask() -> int:
    """Return the mode bits that new files are not to have."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
