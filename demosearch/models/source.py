"""Where a model's files are, and its configuration without its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demosearch._common.progress import quiet_transformers
from demosearch.errors import UserError, one_line
from demosearch.models.config_faults import check_config
from demosearch.models.damage import check_files
from demosearch.models.gguf import unpacked, width_of
from demosearch.models.known import ModelSource, Origin, resolve
from demosearch.models.precision import default_device, default_precision, dtype_of
from demosearch.models.records import ModelRecord
from demosearch.models.revision import revision_of
from demosearch.models.text_decoder import text_config
from demosearch.models.timing import fastest_on_cpu

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig


def weights_path(
    source: ModelSource, dtype: torch.dtype, *, any_type: bool = False
) -> tuple[str, str]:
    """Return what transformers loads the model from, and the revision if it is known already.

    Args:
        source: what `resolve` returned.
        dtype: type of the weights; a GGUF file is converted once for each type.
        any_type: weights of another type will do, e.g. because only the configuration is read.

    Raises:
        UserError: the GGUF file cannot be found or converted, or a folder holds a model and an adapter.
    """
    if source.origin.is_file:
        return unpacked(source, dtype, any_type=any_type)
    if (Path(source.source) / "adapter_config.json").is_file():
        # transformers would put it on the model without checking that all of it was loaded.
        raise UserError(
            f"model folder {source.source} also holds an adapter (adapter_config.json); move the"
            " adapter's files to a folder of their own and use --adapter"
        )
    return source.source, ""


@contextmanager
def load_errors(source: ModelSource, device: str | None = None) -> Iterator[None]:
    """Turn errors of transformers into one line that says why the model cannot be loaded.

    Args:
        source: what `resolve` returned. The files of a folder are checked first.
        device: where the weights go, for the message.

    Raises:
        UserError: the model cannot be loaded.
    """
    if source.origin is Origin.FOLDER:
        check_files(source.source)
    try:
        yield
    except (UserError, MemoryError):
        raise
    except RuntimeError as error:
        _refuse_wrong_config(source)
        if "ignore_mismatched_sizes" in str(error):
            raise UserError(
                f"model '{source.name}' cannot be loaded: the sizes in its config.json must be those of its"
                " weights but differ; correct the file or download it again"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        place = f" on device '{device}'" if device else f" from {source.source}"
        raise UserError(f"model '{source.name}' cannot be loaded{place}: {reason}") from error
    except Exception as error:
        # Values of a configuration that do not fit together raise errors of every type.
        _refuse_wrong_config(source)
        raise UserError(_why_not_loaded(source, error)) from error


def _refuse_wrong_config(source: ModelSource) -> None:
    """Raise an error that names config.json if this file is why a model could not be loaded."""
    if source.origin is Origin.FOLDER:
        with quiet_transformers():
            check_config(source.source)


def _why_not_loaded(source: ModelSource, error: Exception) -> str:
    reason = one_line(error)
    if not isinstance(error, (OSError, ValueError)):
        reason = f"{type(error).__name__}: {reason}"
    if "custom code" in reason:
        return (
            f"model '{source.name}' requires code of its own (auto_map in {source.source}), which is"
            " never run; use a model whose type transformers knows"
        )
    if source.origin is Origin.HUB:
        message = (
            f"cannot load '{source.source}' from the model hub (offline, gated or unknown?):"
            f" {reason[:300]}; a local folder also works: --model FOLDER"
        )
        if "gguf" in source.source.lower():
            message += f"; for a GGUF file: --model {source.source}:FILE.gguf"
    else:
        message = f"cannot load model '{source.name}' from {source.source}: {reason[:300]}"
    if "model.safetensors" in reason:
        message += "; to read weights in pickle format (pytorch_model.bin), use --allow-pickle"
    return message


def read_config(source: ModelSource) -> tuple[PreTrainedConfig, str]:
    """Return a model's configuration and revision, without its weights.

    Of a multimodal model this is the configuration of its text decoder.

    Raises:
        UserError: the configuration cannot be read.
    """
    device = default_device() if source.origin.is_file else "cpu"
    precision = default_precision(device)
    if source.origin.is_file and device == "cpu":
        # A file that is not converted yet is converted to the type that is used most on this machine.
        precision = fastest_on_cpu(width_of(source))
    path, revision = weights_path(source, dtype_of(precision, device), any_type=True)
    config = _read(source, path)
    return text_config(config), revision or revision_of(source, config)


def read_width(source: ModelSource) -> int:
    """Return the width of a model, from its configuration or its file; 0 if that names none.

    Raises:
        UserError: the configuration cannot be read.
    """
    if source.origin.is_file:
        return width_of(source)
    return int(getattr(text_config(_read(source, source.source)), "hidden_size", 0))


def _read(source: ModelSource, path: str) -> PreTrainedConfig:
    # Imported here: training rows and demonstrations files are checked before transformers is loaded.
    from transformers import AutoConfig

    with quiet_transformers(), load_errors(source):
        return AutoConfig.from_pretrained(path, trust_remote_code=False)


def check_model(record: ModelRecord, model: str | None, path: str | Path) -> None:
    """Check that the available weights are those a file was made for.

    Args:
        record: the weights the file was made for.
        model: where the weights are; None means the record's name.
        path: the file, for the message.

    Raises:
        UserError: the revisions differ.
    """
    _, revision = read_config(resolve(model or record.name))
    check_revision(record, revision, path)


def check_revision(
    record: ModelRecord,
    revision: str,
    path: str | Path,
    *,
    name: str | None = None,
    hint: str = "",
) -> None:
    """Check that a revision is the record's; an unknown revision is accepted.

    Args:
        record: the weights that a file was made for.
        revision: of the weights that are available; empty if unknown.
        path: the file, for the message.
        name: the name of the model, if it is not the record's.
        hint: an alternative, for the end of the message.

    Raises:
        UserError: the revisions differ.
    """
    if record.revision and revision and record.revision != revision:
        raise UserError(
            f"{path} was made for different weights of '{name or record.name}': its revision is"
            f" {record.revision[:20]} but the available one is {revision[:20]}; search again{hint}"
        )
