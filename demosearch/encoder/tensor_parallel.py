"""One model split over torchrun's processes: the first leads, the others compute along.

    torchrun --nproc-per-node 4 -m demosearch run --model llama-65b

transformers splits the layers of the families it has a plan for (LLaMA and its kin; not OPT). Every
process then has to run the same forward passes, so the first tells the others what it is about to
encode.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demosearch.errors import UserError
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from demosearch.encoder.encoder import Encoder


def processes() -> int:
    """Return how many processes torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def follows() -> bool:
    """Whether this process only computes along."""
    return int(os.environ.get("RANK", "0")) > 0


@dataclass(frozen=True, slots=True)
class Pass:
    """What all processes encode together."""

    texts: Sequence[str]
    prompt: Prompt
    layers: Sequence[int]
    token_budget: int


def announce(step: Pass | None) -> None:
    """Tell the others what comes next; None lets them go."""
    from torch import distributed

    distributed.broadcast_object_list([step], src=0)


def lead() -> None:
    """Let the others go when this process ends, if `dismiss` has not done so."""
    atexit.register(dismiss)


def follow(encoder: Encoder) -> None:
    """Compute along until the first process ends."""
    from torch import distributed

    while True:
        box: list[Pass | None] = [None]
        distributed.broadcast_object_list(box, src=0)
        step = box[0]
        if step is None:
            _part()
            return
        encoder.token_budget = step.token_budget
        # What is wrong with a prompt the first process says.
        with suppress(UserError):
            encoder.encode_layers(step.texts, step.prompt, step.layers)


def dismiss() -> None:
    """Let the others go, if there are any and they have not gone."""
    if processes() == 1 or follows():
        return
    from torch import distributed

    if distributed.is_initialized():
        announce(None)
        _part()


@contextmanager
def side_by_side() -> Iterator[None]:
    """Do what torchrun's processes do side by side, none leading, and part from them at the end.

    After an error nobody is waited for: torchrun ends the others.
    """
    try:
        yield
    except BaseException:
        _leave()
        raise
    if processes() > 1:
        from torch import distributed

        if distributed.is_initialized():
            _part()


def _leave() -> None:
    if processes() > 1:
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()


def _part() -> None:
    from torch import distributed

    # Nobody closes a connection that another is still reading from.
    distributed.barrier()
    distributed.destroy_process_group()
