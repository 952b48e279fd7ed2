"""Loading weights at a precision, on one device or spread over several.

torch is imported here only when weights are loaded, so that mistakes are found before it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.progress import quiet_transformers
from demosearch.errors import UserError
from demosearch.models.known import KNOWN_MODELS, ModelSource, Origin, Precision, memory_of, resolve
from demosearch.models.options import LoadOptions
from demosearch.models.packaged import describe_packed, unpacked
from demosearch.models.records import AdapterRecord, ModelRecord

if TYPE_CHECKING:
    import torch
    from transformers import (
        BitsAndBytesConfig,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )


# Outputs that bitsandbytes packs together, and inputs that share a scale.
_PACKED_OUTPUTS = 32
_PACKED_INPUTS = 64


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Weights and tokenizer in memory, and the record of what exactly they are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    record: ModelRecord
    adapter: AdapterRecord | None


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
    options: LoadOptions | None = None,
    *,
    split: bool = False,
    head: bool = False,
    **keywords: Any,
) -> LoadedModel:
    """Load weights and tokenizer.

    Args:
        source: what `resolve` returned.
        options: precision, devices and adapter; None means the defaults. With several `devices` the
            layers are spread over them in order, and inputs enter at the first. With `allow_pickle`
            weights in pickle format are read by torch's unpickler, restricted to tensors.
        split: split every layer over the processes that torchrun has started.
        head: also load the language-model head (only the local labeler needs it).
        **keywords: fields of `LoadOptions`, e.g. `precision="bf16"`.

    Raises:
        UserError: the weights cannot be found or read; the message says what to do.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

    options = LoadOptions.of(options, **keywords)
    devices, allow_pickle = options.device_names, options.allow_pickle
    device = devices[0] if devices else options.device or default_device()
    precision = options.precision or default_precision(device)
    dtype = dtype_of(precision, device)
    place, revision = weights_place(source, dtype)
    kind = AutoModelForCausalLM if head else AutoModel
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(place)
            if split and not config.base_model_tp_plan:
                raise UserError(
                    f"models of type '{config.model_type}' cannot be split by torchrun; start one"
                    " process and spread the model by --devices"
                )
            tokenizer = AutoTokenizer.from_pretrained(place)
            # Counted here: quantised or spread over processes, fewer numbers hold the weights.
            every, _ = _parameters(config)
            model, report = kind.from_pretrained(
                place,
                config=config,
                dtype=dtype,
                quantization_config=quantisation(precision, dtype),
                use_safetensors=None if allow_pickle else True,
                output_loading_info=True,
                **_placement(device, devices, split),
            )
    except (OSError, ValueError) as error:
        raise UserError(_why_not_loaded(source, error)) from error
    except RuntimeError as error:
        raise _does_not_go_on(source, device, error) from error
    _refuse_missing(source, report)
    if precision is Precision.NF4:
        limit_packing(model, trained=False)
    revision = revision or revision_of(source, model.config)
    put_on = (
        None if options.adapter is None else put_adapter_on(model, options.adapter, allow_pickle)
    )
    model.eval()
    described = source.source
    if source.origin is Origin.PACKAGE:
        described = f"{describe_packed(source.source)}, dequantised"
    record = ModelRecord(
        name=source.name,
        source=described,
        revision=revision,
        precision=precision.value,
        parameters=every,
    )
    return LoadedModel(model, tokenizer, record, put_on)


def _placement(device: str, devices: Sequence[str] | None, split: bool) -> dict[str, Any]:
    """Return how transformers is told where the weights go."""
    if split:
        from transformers import DistributedConfig

        return {"distributed_config": DistributedConfig(tp_plan="auto")}
    if devices is None or len(devices) == 1:
        return {"device_map": {"": device}}
    import torch

    from demosearch.models.memory import free_memory

    # accelerate fills the devices in order and leaves out those that are not named.
    room: dict[int | str, int] = {
        name if (index := torch.device(name).index) is None else index: free_memory(name)
        for name in devices
    }
    return {"device_map": "auto", "max_memory": room}


def weights_place(source: ModelSource, dtype: torch.dtype) -> tuple[str, str]:
    """Return what transformers loads the model from, and the revision where it is known already.

    Raises:
        UserError: the embedded model cannot be unpacked.
    """
    if source.origin is Origin.PACKAGE:
        return unpacked(source.name, source.source, dtype)
    return source.source, ""


@contextmanager
def loading(source: ModelSource) -> Iterator[None]:
    """Say in one line why a model cannot be loaded.

    Raises:
        UserError: it cannot.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(_why_not_loaded(source, error)) from error


def read_config(source: ModelSource) -> tuple[PreTrainedConfig, str]:
    """Return a model's configuration and revision, without its weights.

    Raises:
        UserError: it cannot be read.
    """
    from transformers import AutoConfig

    # An embedded model is unpacked a number format at a time: the one that is used here most.
    place, revision = weights_place(source, dtype_of(default_precision("cpu"), "cpu"))
    with quiet_transformers(), loading(source):
        config = AutoConfig.from_pretrained(place)
    return config, revision or revision_of(source, config)


def revision_of(source: ModelSource, config: PreTrainedConfig) -> str:
    """Return the revision of a folder's or the hub's weights; empty if unknown."""
    if source.origin is Origin.FOLDER:
        return folder_hash(Path(source.source))
    return str(getattr(config, "_commit_hash", None) or "")


def weights_bytes(source: ModelSource, precision: Precision) -> int:
    """Return the bytes a model's weights take at a precision, from its configuration alone.

    Raises:
        UserError: the configuration cannot be read.
    """
    import torch
    from transformers import AutoConfig

    place, _ = weights_place(source, torch.float32)
    with quiet_transformers(), loading(source):
        every, linear = _parameters(AutoConfig.from_pretrained(place))
    return memory_of(linear, every - linear, precision)


def _parameters(config: PreTrainedConfig) -> tuple[int, int]:
    """Return how many weights a base model has, and how many of them in linear layers."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(config)
    every = sum(parameter.numel() for parameter in model.parameters())
    linear = sum(
        parameter.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
        for parameter in module.parameters()
    )
    return every, linear


def fits_on_each(name: str, devices: Sequence[str], precision: Precision | None) -> bool:
    """Whether every device has room for a model of its own.

    Raises:
        UserError: the name is unknown, or the configuration cannot be read.
    """
    from demosearch.models.memory import ROOM, free_memory

    precision = precision or default_precision(devices[0])
    source = resolve(name)
    row = KNOWN_MODELS.get(name)
    needed = ROOM * (row.memory(precision) if row else weights_bytes(source, precision))
    return all(needed * devices.count(each) <= free_memory(each) for each in devices)


def name_of(dtype: torch.dtype) -> str:
    """Return a number format's name as configurations have it: `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def arithmetic_of(device: torch.device, dtype: torch.dtype) -> str:
    """Return in words where and in what numbers states are computed."""
    return f"{device.type}, {name_of(dtype)}"


def dtype_of(precision: Precision, device: str) -> torch.dtype:
    """Return the type in which a precision multiplies on a device.

    Quantised weights are multiplied in the type that is fastest there; it also holds the weights
    that are not quantised.
    """
    import torch

    if precision.quantised:
        precision = default_precision(device)
    return {
        Precision.FP32: torch.float32,
        Precision.BF16: torch.bfloat16,
        Precision.FP16: torch.float16,
    }[precision]


def quantisation(precision: Precision, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """Return what bitsandbytes is told; its own defaults are FP4, once quantised, float32.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    if not precision.quantised:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"--precision {precision} needs bitsandbytes; run: pip install"
            " 'demosearch[quantization]'"
        )
    from transformers import BitsAndBytesConfig

    if precision is Precision.INT8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=6.0)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def limit_packing(model: torch.nn.Module, *, trained: bool) -> None:
    """Let bitsandbytes pack 4-bit weights for a CPU's bfloat16 instructions only where that is right.

    It packs them in the first pass that is no training, which makes that three times as fast. But it
    takes outputs by 32s and inputs by 64s alone, and what is packed passes no gradient on.

    Args:
        model: with weights in 4 bits, or others, which stay as they are.
        trained: whether gradients have to pass.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for part in model.modules():
        if isinstance(part, Linear4bit) and (
            trained or part.out_features % _PACKED_OUTPUTS or part.in_features % _PACKED_INPUTS
        ):
            part.support_avx512bf16_for_cpu = False


def put_adapter_on(
    model: PreTrainedModel, adapter: str | Path, allow_pickle: bool
) -> AdapterRecord:
    """Put a LoRA on the model, whether it was trained with the language-model head or without."""
    folder = Path(adapter).expanduser()
    revision = ""
    if not folder.is_dir():
        folder, revision = _fetched(str(adapter), allow_pickle)
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"--adapter {adapter}: no adapter_config.json in it")
    safe = (folder / "adapter_model.safetensors").is_file()
    if not (safe or allow_pickle):
        raise UserError(
            f"--adapter {adapter}: no adapter_model.safetensors in it; if its weights are a pickle"
            " (adapter_model.bin), --allow-pickle reads them"
        )
    try:
        with quiet_transformers():
            model.load_adapter(str(folder), use_safetensors=safe)
    except ImportError:
        raise UserError("an adapter needs peft; run: pip install 'demosearch[finetune]'") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--adapter {adapter} does not fit the model: {' '.join(str(error).split())[:200]}"
        ) from error
    revision = revision or folder_hash(folder, "adapter_config.json")
    return AdapterRecord(source=str(adapter), revision=revision)


def _fetched(adapter: str, allow_pickle: bool) -> tuple[Path, str]:
    """Return where an adapter of the hub lies on the disk, and its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        wanted = ["adapter_config.json", "adapter_model.safetensors"]
        wanted += ["adapter_model.bin"] if allow_pickle else []
        folder = Path(snapshot_download(adapter, allow_patterns=wanted))
    except HFValidationError:
        raise UserError(f"--adapter {adapter}: no such folder, and no hub id") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"--adapter {adapter} cannot be had from the model hub: {reason}"
        ) from error
    return folder, folder.name


def _does_not_go_on(source: ModelSource, device: str, error: RuntimeError) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"model '{source.name}' does not go on '{device}': {reason}")


def _why_not_loaded(source: ModelSource, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if source.origin is Origin.HUB:
        why = (
            f"cannot load '{source.source}' from the model hub (offline, gated or unknown?): "
            f"{reason[:300]} - a local folder works too: --model FOLDER"
        )
    else:
        why = f"cannot load model '{source.name}' from {source.source}: {reason[:300]}"
    if "model.safetensors" in reason:
        why += "; if its weights are a pickle (pytorch_model.bin), --allow-pickle reads them"
    return why


def check_weights(source: ModelSource, place: str, *, allow_pickle: bool = False) -> None:
    """Find out, without loading them, whether all of a model's weights are there.

    Raises:
        UserError: one is missing.
    """
    from transformers import AutoModel

    with quiet_transformers(), loading(source):
        _, report = AutoModel.from_pretrained(
            place,
            device_map="meta",
            use_safetensors=None if allow_pickle else True,
            output_loading_info=True,
        )
    _refuse_missing(source, report)


def _refuse_missing(source: ModelSource, report: dict[str, Any]) -> None:
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"the weights of '{source.name}' lack {missing[0]} ({len(missing)} in all); it would be"
            " made up at random, so this is no model to use"
        )


# What besides the weights decides the states of a folder's model.
_TOKENIZER = (
    "tokenizer*.json", "tokenizer.model", "spiece.model", "vocab.*", "merges.txt",
    "added_tokens.json", "special_tokens_map.json",
)  # fmt: skip
_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")


def folder_hash(folder: Path, config: str = "config.json", *, deep: bool = False) -> str:
    """Return a cheap content hash: configuration and tokenizer, and of each weight file its ends.

    Of a weight file the size, the first and the last MiB are taken.

    Args:
        folder: a model's or an adapter's.
        config: the file that says what the weights are.
        deep: it has modules in folders below, each with settings of its own.
    """
    digest = hashlib.sha256((folder / config).read_bytes())
    edge = 1 << 20
    found = folder.rglob if deep else folder.glob
    names = _SETTINGS if deep else _TOKENIZER
    for path in sorted({path for name in names for path in found(name)}):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    for path in sorted([*found("*.safetensors"), *found("*.bin")]):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}:{size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(edge))
            file.seek(max(0, size - edge))
            digest.update(file.read(edge))
    return f"sha256:{digest.hexdigest()}"
