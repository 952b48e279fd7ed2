"""What is handed to one device or to several, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demosearch.prompt import Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Job:
    """Texts to encode under a prompt.

    Attributes:
        key: names the job to whoever asked.
        texts: what to encode.
        prompt: under which prompt.
    """

    key: str
    texts: Sequence[str]
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Done:
    """A job's outcome.

    Attributes:
        job: what was asked.
        states: float32 (texts, width), or None if it failed.
        failure: the reason if it failed.
        seconds: that it took on its device.
    """

    job: Job
    states: NDArray[np.float32] | None
    failure: str
    seconds: float
