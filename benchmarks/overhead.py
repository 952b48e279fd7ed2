"""What a search costs besides the encoder: milliseconds a trial, with a stub for the encoder.

    python benchmarks/overhead.py [--candidates 100 1000 10000] [--storage sqlite journal postgresql://...]

The stub answers at once with random similarities, so all the time there is goes into the study (one
write a trial), the claims, the scores, and at the end reading and resampling, shown by themselves.
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
    """Answers at once."""

    record = ModelRecord(name="stub", source="benchmark", revision="1", precision="fp32")
    adapter = None
    layers = 12
    concurrency = 1
    token_budget = 1

    def resolve_layer(self, layer: int | None) -> int:
        """Return the layer."""
        return self.layers if layer is None else layer

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return the words of a prompt."""
        return len(" ".join(prompt.parts).split())

    def compare(
        self,
        texts: Sequence[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        first: Sequence[int],
        second: Sequence[int],
    ) -> NDArray[np.float32]:
        """Return random similarities that depend on the prompt alone."""
        del texts, second
        generator = np.random.default_rng(zlib.crc32(prompt.head.encode()))
        return generator.normal(size=(len(layers), len(first))).astype(np.float32)


def main() -> None:
    """Objective and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument(
        "--storage",
        nargs="+",
        default=["sqlite"],
        help="sqlite, journal, or the URL of an empty database; its studies are named overhead-N",
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
        objective(number, dev, storage)
        for number in arguments.candidates
        for storage in arguments.storage
    ]
    show(("storage", "candidates", "trials", "ms a trial", "seconds at the end"), rows)


def objective(number: int, dev: Pairs, storage: str) -> tuple[object, ...]:
    """Return a row of the table."""
    candidates = [Demonstration(sentence=f"Number {one}.", word=f"W{one}") for one in range(number)]
    name = f"overhead-{number}"
    with tempfile.TemporaryDirectory() as folder:
        files = {"sqlite": f"sqlite:///{folder}/study.db", "journal": f"{folder}/study.log"}
        url = files.get(storage, storage)
        seconds = []
        # The second time nothing is left to score: what remains is reading and resampling.
        for _ in range(2):
            started = time.perf_counter()
            search(Stub(), candidates, dev, folder=folder, storage=url, study_name=name)
            seconds.append(time.perf_counter() - started)
        trials = len(optuna.load_study(study_name=name, storage=open_storage(url)).trials)
    whole, again = seconds
    kind = storage.partition(":")[0]
    return kind, number, trials, f"{1000 * (whole - again) / trials:.1f}", f"{again:.1f}"


if __name__ == "__main__":
    main()
