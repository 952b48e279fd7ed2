from __future__ import annotations

from demosearch.models import memory
from demosearch.models.known import KNOWN_MODELS


def test_free_memory_is_at_most_the_total_memory() -> None:
    assert 0 < memory.free_memory("cpu") <= memory.total_memory("cpu")


def test_a_machine_reports_the_finest_precision_that_fits() -> None:
    gib = 1 << 30
    row = KNOWN_MODELS["llama-13b"]
    assert memory.Machine((80 * gib,), gpu=True).fits(row) == "fp32"
    assert memory.Machine((40 * gib,), gpu=True).fits(row) == "bf16"
    assert memory.Machine((16 * gib,), gpu=True).fits(row) == "int8"
    assert memory.Machine((12 * gib,), gpu=True).fits(row) == "nf4"
    assert memory.Machine((40 * gib, 40 * gib), gpu=True).fits(row) == "fp32 x 2"
    assert memory.Machine((4 * gib,), gpu=False).fits(row) is None
    assert memory.machine().devices
