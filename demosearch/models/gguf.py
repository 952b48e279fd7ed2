"""GGUF files as models: on the disk, in a package, or on the hub."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from demosearch.errors import UserError, one_line
from demosearch.models.conversion import converted
from demosearch.models.damage import check_is_no_pointer
from demosearch.models.gguf_header import read_header
from demosearch.models.known import ModelSource, Origin
from demosearch.models.packaged import packaged_file

if TYPE_CHECKING:
    import torch


def unpacked(source: ModelSource, dtype: torch.dtype, *, any_type: bool = False) -> tuple[str, str]:
    """Return the folder in the cache that holds a GGUF model in safetensors format, and its revision.

    Args:
        source: a model in a file.
        dtype: type of the weights in the folder.
        any_type: accept an existing folder with weights of another type.

    Raises:
        UserError: the file cannot be found, read or converted.
    """
    file = model_file(source)
    name = source.name if source.origin is Origin.PACKAGE else file.stem
    return converted(file, name, dtype, any_type=any_type)


def quantization_of(source: ModelSource) -> str | None:
    """Return the format of a GGUF file's weights, e.g. `Q4_K_M`; None of another model.

    Raises:
        UserError: the file cannot be found or read.
    """
    return read_header(model_file(source)).quantization if source.origin.is_file else None


def width_of(source: ModelSource) -> int:
    """Return the width of a model in a GGUF file; 0 if the file does not name it.

    Raises:
        UserError: the file cannot be found or read.
    """
    return read_header(model_file(source)).width


def model_file(source: ModelSource) -> Path:
    """Return the path of a model's GGUF file, which is downloaded from the hub if necessary.

    Raises:
        UserError: it cannot be downloaded, its package is missing, or it is empty or a Git LFS pointer.
    """
    if source.origin is Origin.PACKAGE:
        return packaged_file(source.source)
    path = Path(source.source) if source.origin is Origin.FILE else _downloaded(source.source)
    try:
        check_is_no_pointer(path)
    except OSError as error:
        raise UserError(f"cannot read model file {path}: {error.strerror or error}") from error
    return path


def _downloaded(source: str) -> Path:
    """Return the path of `owner/repo:file.gguf` in the hub's cache."""
    # Imported here: names of models are resolved before libraries are loaded.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import logging as hub_logging

    repository, _, file = source.partition(":")
    verbosity = hub_logging.get_verbosity()
    # Otherwise each attempt is a line.
    hub_logging.set_verbosity(logging.ERROR)
    try:
        return Path(hf_hub_download(repository, file))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise UserError(
            f"cannot load '{source}' from the model hub (offline, gated or unknown?):"
            f" {one_line(error, 300)}; a local file also works: --model FILE.gguf"
        ) from error
    finally:
        hub_logging.set_verbosity(verbosity)
