"""Naming weights by the hub's commit or by a hash of their files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from demosearch.models.known import ModelSource, Origin

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Files other than the weights that decide the states of a model in a folder.
_TOKENIZER = (
    "tokenizer*.json", "tokenizer.model", "spiece.model", "vocab.*", "merges.txt",
    "added_tokens.json", "special_tokens_map.json",
)  # fmt: skip
_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")
# Bytes that are hashed at either end of a weight file.
_EDGE = 1 << 20


def revision_of(source: ModelSource, config: PreTrainedConfig) -> str:
    """Return the revision of the weights in a folder or on the hub; empty if unknown."""
    if source.origin is Origin.FOLDER:
        return folder_hash(Path(source.source))
    return str(getattr(config, "_commit_hash", None) or "")


def folder_hash(folder: Path, config: str = "config.json", *, deep: bool = False) -> str:
    """Return a cheap content hash of a model's or an adapter's folder.

    The configuration and the tokenizer are hashed whole. Of each weight file the size and the first
    and last MiB are hashed.

    Args:
        folder: a model's or an adapter's folder.
        config: the file that describes the weights.
        deep: include the files of subfolders, e.g. the modules of a sentence-transformers model.
    """
    digest = hashlib.sha256((folder / config).read_bytes())
    glob = folder.rglob if deep else folder.glob
    names = _SETTINGS if deep else _TOKENIZER
    for path in sorted({path for name in names for path in glob(name)}):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    for path in sorted([*glob("*.safetensors"), *glob("*.bin")]):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}:{size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(0, size - _EDGE))
            digest.update(file.read(_EDGE))
    return f"sha256:{digest.hexdigest()}"
