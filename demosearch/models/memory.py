"""How much memory a device has, and how many tokens of a model fit in what is free."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

from demosearch.models.known import KnownModel, Precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# On a CPU more tokens than this are no faster, as the weights leave its caches either way; a GPU
# needs more to hide the launching of its kernels.
MOST_TOKENS = {"cpu": 2048}
MOST_TOKENS_ON_GPU = 16384
FEWEST_TOKENS = 256
# Of what is free; the rest is for attention's scores, fragments and other programs.
SHARE = 0.5
# What a model needs in all, as a multiple of its weights.
ROOM = 1.2


def free_memory(device: str | torch.device) -> int:
    """Return the free bytes of a device."""
    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch has set aside and does not use is free for us.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(psutil.virtual_memory().available)


def total_memory(device: str | torch.device) -> int:
    """Return all bytes of a device."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


@dataclass(frozen=True, slots=True)
class Machine:
    """The memory at hand.

    Attributes:
        devices: bytes of each GPU, or of the main memory where there is none.
        gpu: whether they are GPUs.
    """

    devices: tuple[int, ...]
    gpu: bool

    def fits(self, model: KnownModel) -> str | None:
        """Return the finest precision at which the weights fit, with room for a pass.

        Returns:
            `bf16` if they fit on one device, `bf16 x 2` if they have to be spread over two; None if
            they do not fit at all.
        """
        # float16 takes what bfloat16 takes.
        for precision in (Precision.FP32, Precision.BF16, Precision.INT8, Precision.NF4):
            left = ROOM * model.memory(precision)
            for count, device in enumerate(sorted(self.devices, reverse=True), start=1):
                left -= device
                if left <= 0:
                    return precision.value if count == 1 else f"{precision.value} x {count}"
        return None


def machine() -> Machine:
    """Return the memory of the machine at hand."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return Machine(tuple(total_memory(f"cuda:{index}") for index in range(count)), gpu=True)
    return Machine((total_memory("cpu"),), gpu=False)


def find_token_budget(model: PreTrainedModel) -> int:
    """Return how many tokens one forward pass should take: a power of two that fits.

    The widest moment of a layer holds its input, a normalised copy, queries, keys, values and the
    attention's output, or the two or three tensors of the feed-forward width.
    """
    device = model.device
    config = model.config
    wide = getattr(config, "intermediate_size", None) or getattr(config, "ffn_dim", None)
    wide = wide or 4 * config.hidden_size
    bytes_each = max(2, torch.finfo(model.dtype).bits // 8)
    per_token = bytes_each * (8 * config.hidden_size + 3 * wide)
    fitting = int(SHARE * free_memory(device)) // per_token
    most = MOST_TOKENS.get(device.type, MOST_TOKENS_ON_GPU)
    # A power of two, so that machines that are nearly alike batch, and so round, alike.
    return int(min(most, max(FEWEST_TOKENS, 1 << max(0, fitting.bit_length() - 1))))


def is_out_of_memory(error: Exception) -> bool:
    """Whether a forward pass failed for want of memory; a CPU's allocator has no type of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def release(device: torch.device) -> None:
    """Give back what a failed pass had taken."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
