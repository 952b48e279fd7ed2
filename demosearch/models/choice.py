"""The precision of a model for which the user names none."""

from __future__ import annotations

import os

from demosearch.models.known import KNOWN_MODELS, ModelSource
from demosearch.models.precision import Precision, default_precision
from demosearch.models.source import read_width
from demosearch.models.timing import fastest_on_cpu


def automatic_precision(source: ModelSource, device: str) -> Precision:
    """Return the fastest precision for a model on a device.

    On a CPU, products of the model's width are timed. The processes of torchrun have to agree and cannot
    ask one another yet, so they go by the CPU's instructions.

    Args:
        source: what `resolve` returned.
        device: torch device.

    Raises:
        UserError: the model's configuration cannot be read.
    """
    if not device.startswith("cpu") or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return default_precision(device)
    row = KNOWN_MODELS.get(source.name)
    return fastest_on_cpu(row.width if row else read_width(source))
