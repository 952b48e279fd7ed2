"""What the tests of the search share."""

from __future__ import annotations

import threading
import time
import zlib
from pathlib import Path

import numpy as np
import optuna

from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile
from tests.fakes import FakeEncoder, fake_pairs

DEV = fake_pairs(240)
NOISES = [90, 80, 70, 10, 75, 85, 65, 95, 62, 5, 99, 88]


def timeless(file: DemonstrationsFile) -> DemonstrationsFile:
    return file.model_copy(update={"search": file.search.model_copy(update={"seconds": 0})})


def open_study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="demosearch", storage=f"sqlite:///{folder / 'study.db'}")


class Killed(BaseException):
    """Stands for a kill: nothing in the search may catch it."""


class DyingEncoder(FakeEncoder):
    """Dies after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def encode(self, texts, prompt, **_):  # type: ignore[no-untyped-def]
        self.calls -= 1
        if self.calls < 0:
            raise Killed
        return super().encode(texts, prompt)


class Lanes(FakeEncoder):
    """Two concurrency that are asked at once, of which the second is slow."""

    concurrency = 2

    def compare(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if threading.current_thread().name.endswith("_1"):
            time.sleep(0.01)
        return super().compare(*arguments, **options)


class Layered(FakeEncoder):
    """A later layer adds noise to what the demonstration does; the first one says nothing."""

    layers = 4

    def resolve_layer(self, layer: int | None) -> int:
        return 4 if layer is None else layer

    def compare(self, texts, prompt, layers, first, second):  # type: ignore[no-untyped-def]
        plain = super().compare(texts, prompt, [None], first, second)[0]
        noise = [
            zlib.crc32(f"{texts[one]} {texts[two]}".encode())
            for one, two in zip(first, second, strict=True)
        ]
        noise = np.array(noise) / 2**32
        share = {1: 0.5, 2: 0.2, 3: 0.0, 4: 0.1}
        return np.stack([plain + share[layer or 4] * noise for layer in layers]).astype(np.float32)


def long_candidates() -> list[Demonstration]:
    """Candidates of which the longer ones are better."""
    return [
        Demonstration(sentence="word " * length + "end.", word=f"W{90 - length * 5}")
        for length in range(1, 16)
    ]
