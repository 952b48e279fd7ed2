"""Conversion of GGUF files to folders in safetensors format, once for each type of weights.

The folders are in the user's cache. Reading a GGUF file takes from half a minute to some minutes.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import importlib.util
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.extras import missing_extra
from demosearch._common.files import umask
from demosearch._common.locks import acquired
from demosearch._common.progress import quiet_transformers
from demosearch.errors import UserError, one_line, reason_of
from demosearch.models.gguf_header import Header, read_header
from demosearch.models.packaged import cache_folder
from demosearch.models.precision import dtype_name

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

# Characters of the hash in a folder's name.
_DIGITS = 12
# Bytes of a folder besides its weights: at most the tokenizer of a large vocabulary.
_BESIDES = 64 << 20
_GIB = 1 << 30


def converted(
    file: Path, name: str, dtype: torch.dtype, *, any_type: bool = False
) -> tuple[str, str]:
    """Return the folder of a GGUF file in safetensors format, and the revision of the file.

    Args:
        file: the GGUF file.
        name: begins the folder's name.
        dtype: type of the weights in the folder.
        any_type: accept an existing folder with weights of another type, to read the configuration.

    Raises:
        UserError: the file is damaged or of a family that is not supported, the reader is not
            installed, or the cache is not writable or full.
    """
    revision = file_revision(file)
    digest = revision.removeprefix("sha256:")[:_DIGITS]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    folder = cache_folder() / f"{stem}-{digest}-{dtype_name(dtype)}"
    # The same file may have been converted under another name. Unfinished folders begin with a dot.
    others = cache_folder().glob(f"[!.]*-{digest}-{'*' if any_type else dtype_name(dtype)}")
    folder = next((path for path in (folder, *sorted(others)) if path.is_dir()), folder)
    if not folder.is_dir():
        with _locked(folder):
            # Another process may have converted the file in the meantime.
            if not folder.is_dir():
                _convert(file, folder, dtype)
    return str(folder), revision


def file_revision(file: Path) -> str:
    """Return `sha256:` and the hash of a file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        state = file.stat()
        return _revision(file, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise UserError(f"cannot read model file {file}: {reason_of(error)}") from error


@functools.lru_cache
def _revision(file: Path, size: int, time: int) -> str:
    del size, time  # They are part of the key: the file may change while this process runs.
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write a folder of the cache, and delete what killed ones left of it."""
    try:
        lock = acquired(
            folder.with_name(f".{folder.name}.lock"), f"another process that converts to {folder}"
        )
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"cannot write to the cache {folder.parent}: {reason_of(error)}; set DEMOSEARCH_CACHE to"
            " another folder"
        ) from error
    try:
        for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def _convert(file: Path, folder: Path, dtype: torch.dtype) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise missing_extra("reading a GGUF file", "gguf")
    header = read_header(file)
    _check_room(header, folder.parent, dtype)
    logger.info("converting %s to %s (once)", file.name, folder)
    model, tokenizer = _read(header, dtype)
    # Imported here: names of models are resolved before transformers is loaded.
    from demosearch.models.gguf_tokenizer import check_saved

    try:
        temporary = tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp")
        unfinished = Path(temporary)
        try:
            with quiet_transformers():
                model.save_pretrained(unfinished)
                tokenizer.save_pretrained(unfinished)
                check_saved(header, tokenizer, unfinished)
            # Other users of a shared cache may read it; mkdtemp and safetensors allow only the owner.
            for path in unfinished.iterdir():
                path.chmod(0o666 & ~umask())
            unfinished.chmod(0o777 & ~umask())
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        # On a full disk, safetensors and tokenizers raise errors of their own types.
        raise UserError(
            f"cannot write to the cache {folder.parent}: {one_line(error, 200)}; free disk space, or set"
            " DEMOSEARCH_CACHE to another folder"
        ) from error


def _check_room(header: Header, cache: Path, dtype: torch.dtype) -> None:
    """Check that the cache has room for the weights."""
    required = sum(tensor.count for tensor in header.tensors.values()) * dtype.itemsize + _BESIDES
    free = shutil.disk_usage(cache).free
    if free < required:
        raise UserError(
            f"converting {header.path} requires {required / _GIB:.1f} GiB in the cache {cache}, which has"
            f" {free / _GIB:.1f} GiB of free space; set DEMOSEARCH_CACHE to another folder"
        )


def _read(header: Header, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return the model and the tokenizer of a GGUF file."""
    # Imported here: names of models are resolved before transformers is loaded.
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from demosearch.models.gguf_rules import (
        check_all_is_used,
        check_extent,
        check_family,
        complete_config,
    )
    from demosearch.models.gguf_tokenizer import complete_tokenizer, unknown_split

    check_family(header)
    check_extent(header)
    location: dict[str, Any] = {
        "pretrained_model_name_or_path": str(header.path.parent),
        # Absolute, because transformers prefers a file of this name in the working folder.
        "gguf_file": str(header.path.absolute()),
        "trust_remote_code": False,
    }
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(**location)
            complete_config(header, config)
            tokenizer = AutoTokenizer.from_pretrained(**location)
            complete_tokenizer(header, tokenizer)
            model, report = AutoModelForCausalLM.from_pretrained(
                **location, config=config, dtype=dtype, output_loading_info=True
            )
    except (UserError, MemoryError):
        raise
    except Exception as error:
        # The readers check little: damage raises errors of every type.
        reason = one_line(error, 300) or type(error).__name__
        if "ignore_mismatched_sizes" in reason:
            reason = "the sizes of its weights must be those of its settings but differ"
        raise UserError(f"model file {header.path} cannot be read: {reason}") from error
    check_all_is_used(header, model, report["missing_keys"])
    if split := unknown_split(header):
        logger.warning(
            "%s splits texts by the rule '%s', which transformers does not know in GGUF files; GPT-2's is"
            " used instead, so that e.g. numbers may be split into other tokens",
            header.path.name,
            split,
        )
    # The weights are no longer quantized; save_pretrained raises an error if these remain.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    return model, tokenizer
