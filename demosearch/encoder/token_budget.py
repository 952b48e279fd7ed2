"""How many tokens go into one forward pass."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import torch

from demosearch.models.memory import free_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# More tokens are not faster on a CPU, because the weights do not stay in its caches either way. A GPU
# requires more tokens to hide the launch of its kernels.
MOST_TOKENS = {"cpu": 2048}
MOST_TOKENS_ON_GPU = 16384
FEWEST_TOKENS = 256
# Share of the free memory; the rest is for attention scores, fragmentation and other programs.
SHARE = 0.5


def find_token_budget(model: PreTrainedModel) -> int:
    """Return how many tokens one forward pass should take: a power of two that fits the free memory.

    At its peak a layer holds its input, a normalized copy, queries, keys, values and the output of the
    attention, or the two or three tensors of the feed-forward width.
    """
    device = model.device
    config = model.config
    inner = getattr(config, "intermediate_size", None) or getattr(config, "ffn_dim", None)
    # Gemma 3n has one width per layer.
    inner = max(inner) if isinstance(inner, (list, tuple)) else inner or 4 * config.hidden_size
    bytes_per_number = max(2, torch.finfo(model.dtype).bits // 8)
    per_token = bytes_per_number * (8 * config.hidden_size + 3 * inner)
    fitting = int(SHARE * free_memory(device)) // per_token
    most = MOST_TOKENS.get(device.type, MOST_TOKENS_ON_GPU)
    # A power of two, so that similar machines form the same batches and round in the same way.
    return int(min(most, max(FEWEST_TOKENS, 1 << max(0, fitting.bit_length() - 1))))


def is_out_of_memory(error: Exception) -> bool:
    """Whether a forward pass ran out of memory; the CPU's allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def release(device: torch.device) -> None:
    """Free the memory of a failed forward pass."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
