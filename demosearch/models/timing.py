"""The faster of float32 and bfloat16 on a CPU, found by timing a product of a model's width.

Capability flags do not tell: some CPUs list bfloat16 instructions and still multiply bfloat16 at half the
rate of float32. torch is imported inside the functions.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demosearch._common.files import atomic_write, sha256
from demosearch.errors import UserError
from demosearch.models.packaged import cache_folder
from demosearch.models.precision import Precision

logger = logging.getLogger(__name__)

# How many times as fast as float32 bfloat16 must be to be chosen. Outside the products bfloat16 is not
# faster, and a difference that noise can reverse must not decide.
MARGIN = 1.2
# Products of each format whose median counts, after one that is not counted.
REPEATS = 5
# Seconds after which no more products are timed; a CPU may emulate bfloat16 slowly.
_LIMIT = 0.15
# Rows of the product: as many tokens keep the CPU busy with arithmetic rather than with reading weights.
_ROWS = 256
# Narrower products measure the overhead of a call, and wider ones take longer at the same rate.
_NARROWEST, _WIDEST = 256, 1024


class Timing(BaseModel):
    """The times of one product in each format."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(ge=1, description="rows and columns of the weights")
    fp32: float = Field(gt=0, description="milliseconds in float32")
    bf16: float = Field(gt=0, description="milliseconds in bfloat16")

    @property
    def precision(self) -> Precision:
        """The format that is clearly faster; float32 if neither is."""
        return Precision.BF16 if self.fp32 >= MARGIN * self.bf16 else Precision.FP32

    @property
    def summary(self) -> str:
        """The choice and its reason in one line.

        >>> Timing(width=576, fp32=1.25, bf16=2.5).summary
        'precision fp32: a product of width 576 takes 1.25 ms in fp32 and 2.50 ms in bf16'
        """
        return (
            f"precision {self.precision}: a product of width {self.width} takes {self.fp32:.2f} ms in"
            f" fp32 and {self.bf16:.2f} ms in bf16"
        )


def fastest_on_cpu(width: int) -> Precision:
    """Return the faster precision on this machine's CPU for a model of a width.

    Each machine measures once and keeps the result in the cache, so that a training, an evaluation or a
    file of embeddings is resumed in the precision that it began with. The first call logs the reason.

    Args:
        width: of the model's states.
    """
    return _measured(min(max(width, _NARROWEST), _WIDEST)).precision


@lru_cache
def _measured(width: int) -> Timing:
    path = cache_folder() / "precision" / f"{_machine()}-{width}.json"
    timing = _read(path)
    if timing is None:
        timing = time_products(width)
        _write(path, timing)
        # Another process may have written first.
        timing = _read(path) or timing
    logger.info(timing.summary)
    return timing


def time_products(width: int, clock: Callable[[], float] = time.perf_counter) -> Timing:
    """Time a product of a model's width in float32 and bfloat16, in tens of milliseconds.

    The formats alternate, so that other programs slow both of them, and the median is taken. One thread is
    used: the ratio is the same, and threads that wait for one another measure the load of the machine.

    Args:
        width: rows and columns of the weights.
        clock: returns seconds; called before and after every product.
    """
    import torch

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    seconds: dict[str, list[float]] = {name: [] for name in dtypes}
    with torch.inference_mode(), _one_thread():
        # The values do not change the time; random ones would advance the random state.
        operands = {
            name: (
                torch.full((_ROWS, width), 0.5, dtype=dtype, device="cpu"),
                torch.full((width, width), 0.5, dtype=dtype, device="cpu"),
            )
            for name, dtype in dtypes.items()
        }
        spent = 0.0
        for repeat in range(REPEATS + 1):
            for name, (states, weights) in operands.items():
                begin = clock()
                torch.nn.functional.linear(states, weights)
                elapsed = clock() - begin
                spent += elapsed
                # The first product of each format also prepares the kernel.
                if repeat:
                    seconds[name].append(elapsed)
            if repeat and spent > _LIMIT:
                break
    # A clock may be too coarse for a product.
    return Timing(
        width=width, **{name: max(1e-6, 1e3 * median(values)) for name, values in seconds.items()}
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _machine() -> str:
    """Return a short hash of what decides the times: the CPU, its instructions and torch."""
    import torch

    # Older releases of torch do not report capabilities.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    parts = [
        _cpu_name(),
        json.dumps(capabilities, sort_keys=True, default=str),
        str(torch.__version__),
    ]
    return sha256(parts)[:16]


def _cpu_name() -> str:
    with suppress(OSError):
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> Timing | None:
    try:
        return Timing.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        # Missing or damaged; it is measured again.
        return None


def _write(path: Path, timing: Timing) -> None:
    """Write a timing unless another process has written one; without a writable cache it is not kept."""
    complete = path.with_name(f"{path.stem}.{os.getpid()}.json")
    try:
        with atomic_write(complete) as file:
            file.write(timing.model_dump_json() + "\n")
        try:
            # Unlike a move, a link does not replace a file that another process has written.
            os.link(complete, path)
        except OSError:
            # The file is there, or the disk has no links.
            if _read(path) is None:
                complete.replace(path)
    except (OSError, UserError) as error:
        logger.debug("the timing is not kept in the cache: %s", error)
    finally:
        with suppress(OSError):
            complete.unlink()
