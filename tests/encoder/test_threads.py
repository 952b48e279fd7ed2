"""Several threads that call one encoder, and encoders that are sent to another process."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from demosearch.embedder import Embedder
from demosearch.encoder.encoder import Encoder
from demosearch.prompt import Prompt

CALLS = [[f"Sentence {n} about topic number {topic}" for n in range(3)] for topic in range(16)]


def load(tiny: Callable[[str], Path], layer: int | None = None) -> Embedder:
    return Embedder.without_demonstrations(
        str(tiny("llama")), precision="fp32", device="cpu", layer=layer
    )


@pytest.mark.parametrize("layer", [0, 1, -2, None])
def test_calls_from_several_threads_equal_the_calls_made_alone(
    tiny: Callable[[str], Path], layer: int | None
) -> None:
    embedder = load(tiny, layer)
    alone = [embedder.encode(call) for call in CALLS]
    for _ in range(5):
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(embedder.encode, CALLS))
        np.testing.assert_array_equal(together, alone)


def test_all_layers_from_several_threads_equal_the_calls_made_alone(
    tiny: Callable[[str], Path],
) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    layers = [[0, 2], [1], [3, 1], [2]] * 4
    alone = [
        encoder.encode_layers(call, Prompt(), part)
        for call, part in zip(CALLS, layers, strict=True)
    ]
    for _ in range(5):
        with ThreadPoolExecutor(8) as threads:
            together = threads.map(
                lambda call, part: encoder.encode_layers(call, Prompt(), part), CALLS, layers
            )
            for states, expected in zip(together, alone, strict=True):
                for left, right in zip(states, expected, strict=True):
                    np.testing.assert_array_equal(left, right)


def test_the_callback_of_a_call_may_call_the_encoder(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    inner: list[np.ndarray] = []
    states = encoder.encode(
        CALLS[0], Prompt(layer=1), advance=lambda _: inner.append(encoder.encode(["A"], Prompt()))
    )
    np.testing.assert_array_equal(states, encoder.encode(CALLS[0], Prompt(layer=1)))
    np.testing.assert_array_equal(inner[0], encoder.encode(["A"], Prompt()))


def test_a_pickled_embedder_encodes_the_same_in_another_process(
    tiny: Callable[[str], Path],
) -> None:
    embedder = load(tiny, 1)
    expected = embedder.encode(CALLS[0])
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        # A bound method is sent with its embedder; the process has imported nothing of ours before.
        states = process.submit(embedder.encode, CALLS[0]).result()
    np.testing.assert_allclose(states, expected, atol=1e-6)


def test_copies_of_an_encoder_have_locks_of_their_own(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    expected = encoder.encode(CALLS[0], Prompt(layer=1))
    for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        with encoder._lock, ThreadPoolExecutor(1) as thread:
            states = thread.submit(copied.encode, CALLS[0], Prompt(layer=1)).result(timeout=60)
        np.testing.assert_array_equal(states, expected)
