"""How much memory devices have, and whether a model fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch

from demosearch.models.choice import automatic_precision
from demosearch.models.known import KNOWN_MODELS, KnownModel, resolve
from demosearch.models.precision import Precision
from demosearch.models.weights import weights_bytes

# The memory that a model requires in total, as a multiple of its weights.
ROOM = 1.2


def free_memory(device: str | torch.device) -> int:
    """Return the free bytes of a device."""
    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Memory that torch has reserved and does not use is available as well.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(psutil.virtual_memory().available)


def total_memory(device: str | torch.device) -> int:
    """Return the total bytes of a device."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


@dataclass(frozen=True, slots=True)
class Machine:
    """The memory of this machine.

    Attributes:
        devices: bytes of each GPU, or of the main memory if there is no GPU.
        gpu: whether the devices are GPUs.
    """

    devices: tuple[int, ...]
    gpu: bool

    def fits(self, model: KnownModel) -> str | None:
        """Return the finest precision at which the weights fit, with room for a forward pass.

        Returns:
            `bf16` if the weights fit on one device, `bf16 x 2` if they have to be spread over two;
            None if they do not fit.
        """
        # float16 takes as much memory as bfloat16.
        for precision in (Precision.FP32, Precision.BF16, Precision.INT8, Precision.NF4):
            left = ROOM * model.memory(precision)
            for count, device in enumerate(sorted(self.devices, reverse=True), start=1):
                left -= device
                if left <= 0:
                    return precision.value if count == 1 else f"{precision.value} x {count}"
        return None


def machine() -> Machine:
    """Return the memory of this machine."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return Machine(tuple(total_memory(f"cuda:{index}") for index in range(count)), gpu=True)
    return Machine((total_memory("cpu"),), gpu=False)


def fits_on_each(name: str, devices: Sequence[str], precision: Precision | None) -> bool:
    """Whether every device has enough free memory for a replica of a model.

    Args:
        name: known name, hub id, folder or GGUF file.
        devices: torch devices; a device named twice has to hold two replicas.
        precision: of the weights; None means the fastest one on the first device.

    Raises:
        UserError: the name is unknown, or the configuration cannot be read.
    """
    source = resolve(name)
    precision = precision or automatic_precision(source, devices[0])
    row = KNOWN_MODELS.get(name)
    required = ROOM * (row.memory(precision) if row else weights_bytes(source, precision))
    return all(required * devices.count(device) <= free_memory(device) for device in devices)
