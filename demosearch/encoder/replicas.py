"""Several devices: a replica of the model on each one, or one model spread over all of them.

A search encodes the same sentences under many prompts. Each replica runs in a process of its own, and
whole prompts are sent to the replica that is idle. The order does not matter, because a state depends
only on model, prompt and sentence.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import torch

from demosearch._common.containers import as_texts
from demosearch.encoder.encoder import Advance, Encoder
from demosearch.encoder.layers import resolve_layer
from demosearch.errors import DeviceLostError, NotFiniteError
from demosearch.models.choice import automatic_precision
from demosearch.models.known import resolve
from demosearch.models.memory import fits_on_each
from demosearch.models.options import LoadOptions
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

# Number of parts per device into which the texts of one call are divided, and the fewest texts of a
# part: each part computes the shared prefix again.
PARTS = 4
FEWEST_TEXTS = 256


@dataclass(frozen=True, slots=True)
class _Properties:
    """Properties of the encoder in a worker process."""

    record: ModelRecord
    adapter: AdapterRecord | None
    layers: int
    token_budget: int
    arithmetic: str


class Replicas:
    """The same model on several devices, with the interface of an `Encoder`.

    Args:
        name: known name, hub id, folder or GGUF file.
        devices: torch devices; a device may be named more than once.
        options: precision and adapter of all replicas.
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
        # Number of threads that may call at the same time; each one uses one device.
        self.concurrency = len(devices)
        self._idle: SimpleQueue[int] = SimpleQueue()
        for index in range(self.concurrency):
            self._idle.put(index)
        try:
            started = [
                worker.submit(_start, name, threads, options.on(device))
                for worker, device in zip(self._workers, devices, strict=True)
            ]
            properties = [future.result() for future in started]
        except BaseException:
            self.close(wait=False)
            raise
        first = properties[0]
        self.arithmetic = first.arithmetic
        self.record = first.record
        self.adapter = first.adapter
        self.layers = first.layers
        # The smallest budget, so that all replicas form the same batches and round in the same way.
        self.token_budget = min(replica.token_budget for replica in properties)

    def resolve_layer(self, layer: int | None) -> int:
        """Return the non-negative index into `hidden_states` of a layer; None is the last layer.

        Raises:
            UserError: the model has no such layer.
        """
        return resolve_layer(layer, self.layers)

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt without a text."""
        return int(self._call(Encoder.prompt_tokens, prompt))

    def width(self, layer: int | None) -> int:
        """Return the width of a layer's states; None is the last layer."""
        return int(self._call(Encoder.width, layer))

    def encode(
        self, texts: Iterable[str], prompt: Prompt, *, advance: Advance | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of texts, computed on all devices.

        Args:
            texts: any number of texts.
            prompt: template, demonstrations and layer.
            advance: called after every part with the number of texts that it completed.

        Returns:
            float32 array of shape (len(texts), width), not normalized.

        Raises:
            UserError: the prompt cannot be used, or `texts` is not a container of texts.
        """
        return self.encode_layers(texts, prompt, [prompt.layer], advance=advance)[0]

    def encode_layers(
        self,
        texts: Iterable[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        *,
        advance: Advance | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return the embeddings at several layers from a single pass, computed on all devices.

        Args:
            texts: any number of texts.
            prompt: template and demonstrations; its layer is ignored.
            layers: indices into `hidden_states`.
            advance: as in `encode`.

        Returns:
            For each layer float32 (len(texts), width).

        Raises:
            UserError: the prompt cannot be used.
        """
        texts = as_texts(texts)
        size = max(FEWEST_TEXTS, -(-len(texts) // (PARTS * self.concurrency)))
        parts = [texts[start : start + size] for start in range(0, max(1, len(texts)), size)]
        with ThreadPoolExecutor(self.concurrency) as threads:
            running = [
                threads.submit(self._call, Encoder.encode_layers, part, prompt, layers)
                for part in parts
            ]
            for future in as_completed(running):
                if error := future.exception():
                    threads.shutdown(cancel_futures=True)
                    if isinstance(error, NotFiniteError) and error.row is not None:
                        raise error.in_row(error.row + size * running.index(future)) from None
                    raise error
                if advance:
                    advance(len(future.result()[0]))
        by_part = [future.result() for future in running]
        return [np.concatenate(rows) for rows in zip(*by_part, strict=True)]

    def unembedding(self) -> NDArray[np.float32]:
        """Return the matrix that turns a state into logits; see `Encoder.unembedding`."""
        return self._call(Encoder.unembedding)

    def compare(
        self,
        texts: Iterable[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        first: Sequence[int],
        second: Sequence[int],
    ) -> NDArray[np.float32]:
        """Return the cosine similarity of pairs of texts, as `Encoder.compare` on an idle device.

        Several threads may call this method at the same time; each one waits for a device.

        Raises:
            UserError: the prompt cannot be used, or the process of a device ended.
        """
        return self._call(Encoder.compare, as_texts(texts), prompt, layers, first, second)

    def _call(self, method: Callable[..., _Result], *arguments: Any) -> _Result:
        index = self._idle.get()
        try:
            call = self._workers[index].submit(_run, self.token_budget, method, *arguments)
            result, budget = call.result()
        except BrokenProcessPool as error:
            raise DeviceLostError(
                f"the process of device {index} was ended, most likely because memory ran out; use a"
                " smaller --precision or fewer --devices"
            ) from error
        finally:
            self._idle.put(index)
        self.token_budget = min(self.token_budget, budget)
        return result

    def close(self, *, wait: bool = True) -> None:
        """End the processes and cancel pending calls.

        Args:
            wait: return only after the processes have ended and their devices are free.
        """
        for worker in self._workers:
            worker.shutdown(wait=wait, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error or an interrupt, do not wait for running calls.
        self.close(wait=kind is None)


def open_encoder(
    name: str, options: LoadOptions | None = None, **keywords: Any
) -> Encoder | Replicas:
    """Load a model on one device, as a replica on each device, or spread over all devices.

    Several devices hold replicas if the model fits on each of them; otherwise its layers are spread over
    them.

    Args:
        name: known name, hub id, folder or GGUF file.
        options: precision, devices and adapter.
        **keywords: fields of `LoadOptions`.

    Raises:
        UserError: the name is unknown, or the weights cannot be loaded.
    """
    options = LoadOptions.of(options, **keywords)
    devices = options.device_names
    if not devices or len(devices) == 1:
        return Encoder.load(name, options.on(devices[0] if devices else options.device))
    precision = options.precision or automatic_precision(resolve(name), devices[0])
    options = options.model_copy(update={"precision": precision})
    if fits_on_each(name, devices, precision):
        logger.info("%d replicas of %s, one on each device", len(devices), name)
        return Replicas(name, devices, options)
    logger.info(
        "%s is too large for one device; its layers are spread over %d devices", name, len(devices)
    )
    return Encoder.load(name, options)


# The encoder of a worker process.
_encoder: Encoder | None = None


def _start(name: str, threads: int, options: LoadOptions) -> _Properties:
    """Load the encoder of this worker process."""
    global _encoder
    if options.device == "cpu":
        torch.set_num_threads(threads)
    _encoder = Encoder.load(name, options)
    return _Properties(
        record=_encoder.record,
        adapter=_encoder.adapter,
        layers=_encoder.layers,
        token_budget=_encoder.token_budget,
        arithmetic=_encoder.arithmetic,
    )


def _run(token_budget: int, method: Callable[..., _Result], *arguments: Any) -> tuple[_Result, int]:
    """Return the result of a method of this process's encoder, and its token budget afterwards."""
    if _encoder is None:
        raise RuntimeError("this process has no encoder yet")
    _encoder.token_budget = token_budget
    return method(_encoder, *arguments), _encoder.token_budget
