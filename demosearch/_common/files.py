"""Writing files atomically, reading text, JSON and YAML, and hashing data."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from demosearch.errors import UserError

# Seconds after the last write when a temporary file is considered left over by a killed process.
_STALE = 3600


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that replaces `path` only when it is complete.

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
        # mkstemp creates a private file; the final file gets the mode of an ordinary one.
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def sweep(path: Path) -> None:
    """Delete temporary files of killed processes beside a file."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        # Another worker may have deleted it first, or it may belong to another user.
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE:
                leftover.unlink()


def check_writable(path: str | Path, *, folder: bool = False) -> None:
    """Check before long work that a file or folder can be written at the end.

    Args:
        path: the file or folder that will be written.
        folder: `path` is a folder into which files will be written.

    Raises:
        UserError: a folder exists at the path of a file, or the closest existing parent folder is not
            writable.
    """
    path = Path(path)
    if not folder and path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    absolute = path.absolute()
    folders = (*([absolute] if folder else []), *absolute.parents)
    existing = next(parent for parent in folders if parent.exists())
    if not existing.is_dir():
        raise UserError(f"cannot write {path}: {existing} is not a folder")
    if not os.access(existing, os.W_OK):
        raise UserError(f"cannot write {path}: the folder {existing} is not writable")


def json_text(value: Any, indent: int | None = 2) -> str:
    """Return a value as JSON with a line end; a number that is not finite becomes null.

    Python writes such a number as `NaN` or `Infinity`, which is not JSON (RFC 8259).
    """
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; see `json_text`."""
    with atomic_write(path) as file:
        file.write(json_text(value))


def read_json(path: str | Path, what: str) -> Any:
    """Return the contents of a JSON file; NaN and Infinity, which version 0.1 wrote, are None.

    Args:
        path: the file.
        what: the kind of file, for error messages.

    Raises:
        UserError: the file cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path, what), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} {path} is not JSON: {error}") from error


def parse_yaml(text: str, what: str) -> Any:
    """Return the value of YAML text; only plain values are accepted.

    Args:
        text: the YAML text.
        what: the source of the text, for error messages.

    Raises:
        UserError: the text is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{what} is not YAML: {error}") from error


def read_text(path: str | Path, what: str, *, fallback: str | None = None) -> str:
    """Return the text of a UTF-8 file without a byte-order mark; its line ends are not changed.

    Args:
        path: the file.
        what: the kind of file, for error messages.
        fallback: the encoding of old files of this kind that are not UTF-8.

    Raises:
        UserError: the file is missing, unreadable, or not UTF-8.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if fallback is not None:
            return content.decode(fallback)
        raise UserError(f"{what} {path} is not UTF-8 text (byte {error.start})") from error


def sha256(parts: Iterable[str]) -> str:
    """Return the hex digest of strings, each terminated by a line feed."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\n")
    return digest.hexdigest()


def umask() -> int:
    """Return the mode bits that new files must not have."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
