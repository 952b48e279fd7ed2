"""Number formats of weights: their memory, the default on a device, torch's type, and quantization.

torch and bitsandbytes are imported inside the functions: settings are checked before either is loaded.
"""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from demosearch._common.extras import missing_extra

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

# bitsandbytes packs outputs in groups of 32; 64 inputs share a scale.
_PACKED_OUTPUTS = 32
_PACKED_INPUTS = 64


class Precision(StrEnum):
    """The number format in which weights are stored and multiplied."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    #: LLM.int8 (arXiv 2208.07339): 8 bits, outliers in 16
    INT8 = "int8"
    #: NormalFloat of 4 bits, double quantization (arXiv 2305.14314), multiplied in 16 or 32 bits
    NF4 = "nf4"

    @property
    def quantized(self) -> bool:
        """Whether bitsandbytes stores the weights of linear layers in fewer bits."""
        return self in (Precision.INT8, Precision.NF4)


# Bytes of one weight of a linear layer, and of any other weight (embeddings and norms stay in 16
# bits). NF4 takes 4 bits, and with double quantization 0.127 bits for its scales.
_BYTES = {
    Precision.FP32: (4, 4),
    Precision.BF16: (2, 2),
    Precision.FP16: (2, 2),
    Precision.INT8: (1, 2),
    Precision.NF4: ((4 + 0.127) / 8, 2),
}


def memory_of(linear: float, other: float, precision: Precision) -> int:
    """Return the bytes that weights take at a precision.

    Args:
        linear: number of weights in linear layers.
        other: number of all other weights.
        precision: of the weights.
    """
    linear_bytes, other_bytes = _BYTES[precision]
    return int(linear * linear_bytes + other * other_bytes)


def default_device() -> str:
    """Return the device that is used when none is named."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def default_precision(device: str) -> Precision:
    """Return the precision that a device's instructions suggest and that keeps bfloat16's range.

    A CPU without bfloat16 instructions converts bfloat16 for every product, which is several times
    slower than float32. With them it may still be slower, so `choice.automatic_precision` times products
    instead. Only what has to be the same in every process goes by the instructions: the type in which
    quantized weights are multiplied, which files do not record, and models split by torchrun.
    """
    import torch

    if device.startswith("cuda"):
        return Precision.BF16 if torch.cuda.is_bf16_supported() else Precision.FP16
    if device.startswith("cpu"):
        # Older releases of torch do not report capabilities; float32 is correct on every CPU.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        if not any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
            return Precision.FP32
    return Precision.BF16


def dtype_of(precision: Precision, device: str) -> torch.dtype:
    """Return the type in which a precision multiplies on a device.

    Quantized weights are multiplied in the type that the device's instructions suggest. The weights that
    are not quantized are stored in this type.
    """
    import torch

    if precision.quantized:
        precision = default_precision(device)
    return {
        Precision.FP32: torch.float32,
        Precision.BF16: torch.bfloat16,
        Precision.FP16: torch.float16,
    }[precision]


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a type as configurations write it, e.g. `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def arithmetic_of(device: torch.device, dtype: torch.dtype) -> str:
    """Return the kind of device and the type in which states are computed, e.g. `cpu, float32`."""
    return f"{device.type}, {dtype_name(dtype)}"


def quantization_config(precision: Precision, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """Return the configuration for bitsandbytes; None if the precision is not quantized.

    The defaults of bitsandbytes for 4 bits are FP4, a single quantization and products in float32.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    if not precision.quantized:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise missing_extra(f"--precision {precision}", "quantization")
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
    """Let bitsandbytes pack 4-bit weights for a CPU's bfloat16 instructions only where that is correct.

    bitsandbytes packs weights in the first forward pass outside training, which makes that pass three
    times as fast. Packing requires outputs in multiples of 32 and inputs in multiples of 64, and packed
    weights do not propagate gradients.

    Args:
        model: any model; only its 4-bit layers are changed.
        trained: whether gradients have to pass.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit) and (
            trained or module.out_features % _PACKED_OUTPUTS or module.in_features % _PACKED_INPUTS
        ):
            module.support_avx512bf16_for_cpu = False
