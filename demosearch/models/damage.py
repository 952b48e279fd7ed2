"""Checks of the files of a model's folder: what is cut, missing, or only a pointer of Git LFS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demosearch.errors import UserError

_POINTER = b"version https://git-lfs.github.com/spec/"
_INDEX = ".safetensors.index.json"
# JSON files of a model's folder that transformers reads; each holds an object.
_OBJECTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "adapter_config.json")
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_OTHERS = ("*.json", "tokenizer.model", "spiece.model", "vocab.*", "merges.txt")
# Length of the number at the start of a safetensors file, which is the length of its header.
_NUMBER = 8
_LONGEST_HEADER = 100_000_000


def check_files(folder: str | Path) -> None:
    """Check the files of a model or an adapter, without reading weights.

    Raises:
        UserError: a file is cut, not readable, or a Git LFS pointer; or a shard is missing.
    """
    folder = Path(folder)
    for path in _files(folder, *_WEIGHTS, *_OTHERS):
        check_is_no_pointer(path)
    for path in _files(folder, *_OBJECTS):
        _read_object(path)
    for path in _files(folder, f"*{_INDEX}"):
        _check_shards(path)
    for path in _files(folder, "*.safetensors"):
        _check_length(path)


def _files(folder: Path, *patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in sorted(folder.glob(pattern)) if path.is_file())


def check_is_no_pointer(path: Path) -> None:
    """Check that a file is neither empty nor a Git LFS pointer.

    Raises:
        UserError: it is one of the two.
    """
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
    if not start and path.suffix in (".safetensors", ".bin", ".gguf"):
        raise UserError(f"{path} is empty; download it again")
    if start == _POINTER:
        raise UserError(
            f"{path} is a Git LFS pointer instead of the file itself; run: git lfs pull, or download"
            " the file again"
        )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); download it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object; download it again")
    return value


def _check_shards(index: Path) -> None:
    shards = _read_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise UserError(f"{index} must hold a 'weight_map'; download it again")
    names = sorted({str(name) for name in shards.values()})
    missing = [name for name in names if not (index.parent / name).is_file()]
    # transformers prefers a single file of weights to shards.
    single = index.parent / index.name.removesuffix(".index.json")
    if missing and not single.is_file():
        raise UserError(
            f"{index.parent / missing[0]} is missing ({len(missing)} of {len(names)} shards);"
            " download it again"
        )


def _check_length(path: Path) -> None:
    """Check that a safetensors file is as long as its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_NUMBER), "little")
        if size < _NUMBER or length > min(size - _NUMBER, _LONGEST_HEADER):
            raise UserError(f"{path} is cut or not in safetensors format; download it again")
        try:
            header = json.loads(file.read(length))
            ends = [
                entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"
            ]
            expected = _NUMBER + length + max(ends, default=0)
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            raise UserError(f"{path} is not in safetensors format; download it again") from None
    if size != expected:
        raise UserError(
            f"{path} must have {expected:,} bytes but has {size:,}, so that it is"
            f" {'cut' if size < expected else 'damaged'}; download it again"
        )
