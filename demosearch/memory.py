"""How much memory a device has, and how many tokens of a model fit in what is free."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# On a CPU more tokens than this are no faster, as the weights leave its caches either way; a GPU
# needs more to hide the launching of its kernels.
MOST_TOKENS = {"cpu": 2048}
MOST_TOKENS_ON_GPU = 16384
FEWEST_TOKENS = 256
# Of what is free; the rest is for attention's scores, fragments and other programs.
SHARE = 0.5


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


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a forward pass failed for want of memory; a CPU's allocator has no type of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def release(device: torch.device) -> None:
    """Give back what a failed pass had taken."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
