"""Encoders and helpers that the tests of the search share."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from demosearch import search
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.selection import SearchInputs, SearchSettings
from demosearch.selection.pair_encoder import SentenceEncoder
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs

DEV = fake_pairs(240)
NOISES = [90, 80, 70, 10, 75, 85, 65, 95, 62, 5, 99, 88]


def search_in_memory(
    encoder: SentenceEncoder,
    folder: Path,
    candidates: Sequence[Demonstration] | None = None,
    **options: Any,
) -> DemonstrationsFile:
    """Search on `DEV` with a study in memory, for tests that do not read the study's file.

    Args:
        encoder: the encoder.
        folder: for the tables.
        candidates: None means one candidate for each of `NOISES`.
        **options: of `search`.
    """
    candidates = fake_candidates(NOISES) if candidates is None else candidates
    options = {"storage": optuna.storages.InMemoryStorage(), **options}
    return search(encoder, candidates, DEV, folder=folder, **options).file


def inputs(**values: Any) -> SearchInputs:
    """Return the inputs of a search with default settings, some of them replaced."""
    return replace(SearchInputs.read(SearchSettings(), DEV), **values)


def timeless(file: DemonstrationsFile) -> DemonstrationsFile:
    """Return a file without the time that the search took."""
    return file.model_copy(update={"search": file.search.model_copy(update={"seconds": 0})})


def open_study(folder: Path) -> optuna.Study:
    """Return the study in a folder."""
    return optuna.load_study(study_name="demosearch", storage=f"sqlite:///{folder / 'study.db'}")


class Killed(BaseException):
    """Stands for a kill: nothing in the search may catch it."""


class DyingEncoder(FakeEncoder):
    """An encoder that dies after a number of calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
        self.calls -= 1
        if self.calls < 0:
            raise Killed
        return super().encode(texts, prompt)


class TwoThreads(FakeEncoder):
    """An encoder that two threads may call at a time; the second one is slow."""

    concurrency = 2

    def compare(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if threading.current_thread().name.endswith("_1"):
            time.sleep(0.01)
        return super().compare(*arguments, **options)


class Layered(FakeEncoder):
    """A later layer adds noise to the effect of the demonstration; the first layer has none of it."""

    layers = 4

    def resolve_layer(self, layer: int | None) -> int:
        return 4 if layer is None else layer

    def compare(self, texts, prompt, layers, first, second):  # type: ignore[no-untyped-def]
        plain = super().compare(texts, prompt, [None], first, second)[0]
        noise = [
            zlib.crc32(f"{texts[row]} {texts[other]}".encode())
            for row, other in zip(first, second, strict=True)
        ]
        noise = np.array(noise) / 2**32
        share = {1: 0.5, 2: 0.2, 3: 0.0, 4: 0.1}
        return np.stack([plain + share[layer or 4] * noise for layer in layers]).astype(np.float32)


def long_candidates() -> list[Demonstration]:
    """Return candidates of which the longer ones are better."""
    return [
        Demonstration(sentence="word " * length + "end.", word=f"W{90 - length * 5}")
        for length in range(1, 16)
    ]
