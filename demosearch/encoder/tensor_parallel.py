"""Tensor parallelism: one model split over the processes of torchrun.

    torchrun --nproc-per-node 4 -m demosearch run --model llama-65b

transformers splits the layers of the families that it has a plan for (the LLaMA family; not OPT). All
processes have to run the same forward passes, so the first process announces every pass to the others.

torch is imported inside the functions, because the command line asks for the number of processes before
it loads torch.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from demosearch.errors import UserError
from demosearch.prompt import Prompt


class Follower(Protocol):
    """The part of an encoder that repeats the passes of the first process."""

    token_budget: int

    def encode_layers(self, texts: Sequence[str], prompt: Prompt, layers: Sequence[int], /) -> Any:
        """Run one pass."""
        ...


def processes() -> int:
    """Return the number of processes that torchrun has started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def follows() -> bool:
    """Whether this process only follows the first one."""
    return int(os.environ.get("RANK", "0")) > 0


@dataclass(frozen=True, slots=True)
class Pass:
    """One call of `encode_layers` that all processes run."""

    texts: Sequence[str]
    prompt: Prompt
    layers: Sequence[int]
    token_budget: int


def announce(step: Pass | None) -> None:
    """Send the next pass to the other processes; None ends them."""
    from torch import distributed

    distributed.broadcast_object_list([step], src=0)


def lead() -> None:
    """End the other processes when this one exits, unless `dismiss` has done so before."""
    atexit.register(dismiss)


def follow(encoder: Follower) -> None:
    """Run the passes that the first process announces until it ends."""
    from torch import distributed

    while True:
        box: list[Pass | None] = [None]
        distributed.broadcast_object_list(box, src=0)
        step = box[0]
        if step is None:
            _disconnect()
            return
        encoder.token_budget = step.token_budget
        # The first process reports errors of the prompt.
        with suppress(UserError):
            encoder.encode_layers(step.texts, step.prompt, step.layers)


def dismiss() -> None:
    """End the other processes, if there are any that still run."""
    if processes() == 1 or follows():
        return
    from torch import distributed

    if distributed.is_initialized():
        announce(None)
        _disconnect()


@contextmanager
def side_by_side() -> Iterator[None]:
    """Run code in which all processes do the same without a leader, and disconnect at the end.

    After an error the other processes are not waited for; torchrun ends them.
    """
    try:
        yield
    except BaseException:
        _abort()
        raise
    if processes() > 1:
        from torch import distributed

        if distributed.is_initialized():
            _disconnect()


def _abort() -> None:
    if processes() > 1:
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()


def _disconnect() -> None:
    from torch import distributed

    # A process must not close a connection from which another one still reads.
    distributed.barrier()
    distributed.destroy_process_group()
