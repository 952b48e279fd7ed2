"""Several devices: a replica of the model on each, or one model spread over all.

A search asks one thing many times: the states of some sentences under one more prompt. With a replica
a device, each in a process of its own, whole prompts are handed out to whichever is idle. That a
sentence's state depends on nothing but model, prompt and sentence makes the order of no importance.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from demosearch.encoder.encoder import Advance, Encoder
from demosearch.encoder.layers import resolve_layer
from demosearch.errors import DeviceLostError
from demosearch.models.memory import fits_on_each
from demosearch.models.options import LoadOptions
from demosearch.models.precision import default_precision
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

# One call's texts are cut into so many parts a device, each long enough to be worth its prefix.
PARTS = 4
FEWEST_TEXTS = 256


class Replicas:
    """The same model on several devices; a search uses it as it uses an `Encoder`.

    Args:
        name: known name, hub id or folder.
        devices: torch devices; one may be named more than once.
        options: precision and adapter of every replica.
        **keywords: fields of `LoadOptions`.

    Raises:
        UserError: the weights cannot be loaded on one of the devices.
    """

    def __init__(
        self,
        name: str,
        devices: Sequence[str],
        options: LoadOptions | None = None,
        **keywords: Any,
    ) -> None:
        options = LoadOptions.of(options, **keywords)
        # CUDA cannot be used in a forked process.
        context = multiprocessing.get_context("spawn")
        threads = max(1, (os.cpu_count() or 1) // len(devices))
        self._workers = [ProcessPoolExecutor(1, mp_context=context) for _ in devices]
        # How many may ask at a time; each has a device to itself.
        self.concurrency = len(devices)
        self._idle: SimpleQueue[int] = SimpleQueue()
        for place in range(self.concurrency):
            self._idle.put(place)
        try:
            started = [
                worker.submit(_start, name, threads, options.on(device))
                for worker, device in zip(self._workers, devices, strict=True)
            ]
            found = [each.result() for each in started]
        except BaseException:
            self.close(wait=False)
            raise
        # Alike on all, or their states would not go together.
        self.arithmetic: str = found[0][4]
        self.record: ModelRecord = found[0][0]
        self.adapter: AdapterRecord | None = found[0][1]
        self.layers: int = found[0][2]
        # The smallest, so that all batch, and so round, alike.
        self.token_budget: int = min(each[3] for each in found)

    def resolve_layer(self, layer: int | None) -> int:
        """Return the index into `hidden_states` that `layer` stands for; None is the last.

        Raises:
            UserError: the model has no such layer.
        """
        return resolve_layer(layer, self.layers)

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens a prompt has without a text."""
        return int(self._ask(Encoder.prompt_tokens, prompt))

    def width(self, layer: int | None) -> int:
        """Return how many numbers a layer's states have; None is the last layer."""
        return int(self._ask(Encoder.width, layer))

    def encode(
        self, texts: Sequence[str], prompt: Prompt, *, advance: Advance | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of texts, to which all devices contribute.

        Args:
            texts: any number of texts.
            prompt: template, demonstrations and layer.
            advance: called with the number of texts done after every part.

        Returns:
            float32 array of shape (len(texts), width), not normalised.

        Raises:
            UserError: the prompt cannot be used.
        """
        size = max(FEWEST_TEXTS, -(-len(texts) // (PARTS * self.concurrency)))
        parts = [texts[start : start + size] for start in range(0, max(1, len(texts)), size)]
        with ThreadPoolExecutor(self.concurrency) as threads:
            running = [threads.submit(self._ask, Encoder.encode, part, prompt) for part in parts]
            for future in as_completed(running):
                if error := future.exception():
                    threads.shutdown(cancel_futures=True)
                    raise error
                if advance:
                    advance(len(future.result()))
        return np.concatenate([future.result() for future in running])

    def compare(
        self,
        texts: Sequence[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        first: Sequence[int],
        second: Sequence[int],
    ) -> NDArray[np.float32]:
        """Return what `Encoder.compare` does, from whichever device is idle.

        Several threads may call it at once; each waits for a device.

        Raises:
            UserError: the prompt cannot be used, or a device's process ended by itself.
        """
        return self._ask(Encoder.compare, texts, prompt, layers, first, second)

    def _ask(self, what: Callable[..., _Answer], *arguments: Any) -> _Answer:
        place = self._idle.get()
        try:
            call = self._workers[place].submit(_with_budget, self.token_budget, what, *arguments)
            found, budget = call.result()
        except BrokenProcessPool as error:
            raise DeviceLostError(
                f"the process of device {place} was ended, most likely for want of memory"
            ) from error
        finally:
            self._idle.put(place)
        self.token_budget = min(self.token_budget, budget)
        return found

    def close(self, *, wait: bool = True) -> None:
        """End the processes; what they have not begun is dropped.

        Args:
            wait: return when they have ended, and their devices are free.
        """
        for worker in self._workers:
            worker.shutdown(wait=wait, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Whoever interrupts wants out at once.
        self.close(wait=kind is None)


def open_encoder(
    name: str, options: LoadOptions | None = None, **keywords: Any
) -> Encoder | Replicas:
    """Load a model as the devices allow: on one, a replica on each, or spread over all.

    Args:
        name: known name, hub id or folder.
        options: precision, devices and adapter.
        **keywords: fields of `LoadOptions`.

    Raises:
        UserError: the name is unknown, or the weights cannot be loaded.
    """
    options = LoadOptions.of(options, **keywords)
    devices = options.device_names
    if not devices or len(devices) == 1:
        return Encoder.load(name, options.on(devices[0] if devices else options.device))
    precision = options.precision or default_precision(devices[0])
    options = options.model_copy(update={"precision": precision})
    if fits_on_each(name, devices, precision):
        logger.info("%d replicas of %s, one a device", len(devices), name)
        return Replicas(name, devices, options)
    logger.info("%s is too large for one device and is spread over %d", name, len(devices))
    return Encoder.load(name, options)


# The encoder of a worker's process.
_encoder: Encoder | None = None


def _start(
    name: str, threads: int, options: LoadOptions
) -> tuple[ModelRecord, AdapterRecord | None, int, int, str]:
    global _encoder
    import torch

    if options.device == "cpu":
        torch.set_num_threads(threads)
    _encoder = Encoder.load(name, options)
    return (
        _encoder.record,
        _encoder.adapter,
        _encoder.layers,
        _encoder.token_budget,
        _encoder.arithmetic,
    )


def _with_budget(
    token_budget: int, what: Callable[..., _Answer], *arguments: Any
) -> tuple[_Answer, int]:
    """Return what the process's encoder answers, and the tokens a pass that it is left with."""
    if _encoder is None:
        raise RuntimeError("this process has no encoder yet")
    _encoder.token_budget = token_budget
    return what(_encoder, *arguments), _encoder.token_budget
