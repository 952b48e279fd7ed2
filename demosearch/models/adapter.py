"""Putting an adapter on a model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from demosearch._common.extras import missing_extra
from demosearch.errors import UserError, one_line
from demosearch.models.damage import check_files
from demosearch.models.options import LoadOptions
from demosearch.models.records import AdapterRecord
from demosearch.models.revision import folder_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from demosearch.models.adapted import Adapted

_CONFIG = "adapter_config.json"
_SAFE = "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"


def put_adapter_on(model: PreTrainedModel, options: LoadOptions) -> AdapterRecord | None:
    """Put the adapter of the options on a model; None if the options name none.

    The adapter may have been trained with or without a language-model head.

    Raises:
        UserError: the adapter is missing, does not fit the model, or is in pickle format although the
            options do not allow that; or peft is not installed.
    """
    adapted = adapt(model, options)
    return adapted[1] if adapted else None


def adapt(model: PreTrainedModel, options: LoadOptions) -> tuple[Adapted, AdapterRecord] | None:
    """Put the adapter of the options on a model, and return both; None if the options name none.

    Raises:
        UserError: as `put_adapter_on`.
    """
    adapter = options.adapter
    if adapter is None:
        return None
    folder, revision = Path(adapter).expanduser(), ""
    if not folder.is_dir():
        folder, revision = _download(adapter, options)
    if not (folder / _CONFIG).is_file():
        raise UserError(f"--adapter {adapter}: there is no {_CONFIG} in this folder")
    safe = (folder / _SAFE).is_file()
    if not (safe or options.allow_pickle):
        raise UserError(
            f"--adapter {adapter}: there is no {_SAFE} in this folder; to read weights in pickle format"
            f" ({_PICKLE}), use --allow-pickle"
        )
    if not (safe or (folder / _PICKLE).is_file()):
        raise UserError(f"--adapter {adapter}: there is no {_SAFE} or {_PICKLE} in this folder")
    check_files(folder)
    if importlib.util.find_spec("peft") is None:
        raise missing_extra("an adapter", "finetune")
    from demosearch.models.adapted import put_on

    adapted = put_on(model, folder, adapter, safe=safe)
    return adapted, AdapterRecord(source=adapter, revision=revision or folder_hash(folder, _CONFIG))


def check_adapter(
    record: AdapterRecord | None, actual: AdapterRecord | None, path: str | Path
) -> None:
    """Check that the adapter on a model is the one a file was made with.

    Args:
        record: the file's adapter; None accepts any.
        actual: the adapter on the model.
        path: the file, for the message.

    Raises:
        UserError: the adapter has changed.
    """
    if record is not None and actual != record:
        raise UserError(
            f"{path} was made with the adapter {record.source} of revision {record.revision[:20]}, but"
            " that adapter has changed; search again"
        )


def _download(adapter: str, options: LoadOptions) -> tuple[Path, str]:
    """Return the local folder of an adapter of the hub, and its commit."""
    patterns = [_CONFIG, _SAFE, *([_PICKLE] if options.allow_pickle else [])]
    try:
        folder = Path(snapshot_download(adapter, allow_patterns=patterns))
    except HFValidationError:
        raise UserError(f"--adapter {adapter} is neither a folder nor a hub id") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot download --adapter {adapter} from the model hub: {one_line(error, 300)}"
        ) from error
    return folder, folder.name
