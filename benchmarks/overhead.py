"""Measure the cost of a search without the encoder, in milliseconds per trial.

    python benchmarks/overhead.py [--candidates 100 1000 10000] [--storage sqlite journal postgresql://...]

A stub in place of the encoder returns random similarities at once. So the time is that of the study (one
transaction per trial), the claims and the scores. Reading the study and resampling at the end are shown
separately.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from collections.abc import Sequence

import numpy as np
import optuna
from measure import machine, show
from numpy.typing import NDArray

from demosearch import Prompt, search
from demosearch.datasets import Pairs
from demosearch.demonstration import Demonstration
from demosearch.models.records import ModelRecord
from demosearch.selection.storage import open_storage


class Stub:
    """An encoder that returns random similarities at once."""

    record = ModelRecord(name="stub", source="benchmark", revision="1", precision="fp32")
    adapter = None
    layers = 12
    concurrency = 1
    token_budget = 1

    def resolve_layer(self, layer: int | None) -> int:
        """Return the layer."""
        return self.layers if layer is None else layer

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return the number of words of a prompt."""
        return len(" ".join(prompt.parts).split())

    def compare(
        self,
        texts: Sequence[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        first: Sequence[int],
        second: Sequence[int],
    ) -> NDArray[np.float32]:
        """Return random similarities that depend on the prompt only."""
        del texts, second
        generator = np.random.default_rng(zlib.crc32(prompt.head.encode()))
        return generator.normal(size=(len(layers), len(first))).astype(np.float32)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument(
        "--storage",
        nargs="+",
        default=["sqlite"],
        help="sqlite, journal, memory, or the URL of an empty database",
    )
    arguments = parser.parse_args()

    generator = np.random.default_rng(0)
    scores = generator.uniform(0, 5, arguments.pairs)
    dev = Pairs(
        "random",
        tuple(f"first {row}" for row in range(arguments.pairs)),
        tuple(f"second {row}" for row in range(arguments.pairs)),
        tuple(scores.tolist()),
    )
    print(machine(), "\n")
    rows = [
        measure(number, dev, storage)
        for number in arguments.candidates
        for storage in arguments.storage
    ]
    show(("storage", "candidates", "trials", "ms per trial", "seconds at the end"), rows)


def measure(number: int, dev: Pairs, kind: str) -> tuple[object, ...]:
    """Return a row of the table."""
    candidates = [Demonstration(sentence=f"Number {one}.", word=f"W{one}") for one in range(number)]
    name = f"overhead-{number}"
    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:///{folder}/study.db", "journal": f"{folder}/study.log"}
        storage: str | optuna.storages.BaseStorage = urls.get(kind, kind)
        if kind == "memory":
            storage = optuna.storages.InMemoryStorage()
        seconds = []
        # The second search has nothing left to score: it reads and resamples only.
        for _ in range(2):
            started = time.perf_counter()
            search(Stub(), candidates, dev, folder=folder, storage=storage, study_name=name)
            seconds.append(time.perf_counter() - started)
        opened = open_storage(storage) if isinstance(storage, str) else storage
        trials = len(optuna.load_study(study_name=name, storage=opened).trials)
    whole, again = seconds
    name = kind.partition(":")[0]
    return name, number, trials, f"{1000 * (whole - again) / trials:.1f}", f"{again:.1f}"


if __name__ == "__main__":
    main()
