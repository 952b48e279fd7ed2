"""Measure workers that share a study, and check their result while some of them are killed.

    python -m benchmarks.workers --storage postgresql://USER@HOST/DATABASE [--workers 4] [--kills 5]

Searches among random candidates with a tiny seeded model, first with one worker, then with several. At
random moments one of them is killed and replaced by a new one. The benchmark checks that every candidate is
scored once on each of its rungs, and that the result and all scores are those of the single worker. It
prints seconds and trials per second from the first trial to the last. Each worker has one thread; if there
are more workers than cores, they share the cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna

from demosearch import Encoder, search
from demosearch.datasets import Pairs, Split, read_pairs
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile
from tests.tiny import save_tiny_model

CONTEXT = multiprocessing.get_context("spawn")


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", required=True)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    generator = random.Random(arguments.seed)
    run = f"workers-{int(time.time())}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tiny_model("llama", folder / "model")
        results = {}
        for workers, kills in ((1, 0), (arguments.workers, arguments.kills)):
            study = f"{run}-{workers}"
            target = (folder, arguments.storage, study, arguments.candidates)
            work(target, workers, kills, generator)
            results[workers] = report(folder, arguments.storage, study, workers, kills)
    alone, together = results.values()
    assert together == alone, "several workers gave another result than one"
    print("the result and all scores are the same")


def work(
    target: tuple[Path, str, str, int], workers: int, kills: int, generator: random.Random
) -> None:
    """Run workers to the end; kill one of them and replace it several times."""
    running = [start(target, number) for number in range(workers)]
    for kill in range(kills):
        time.sleep(generator.uniform(8, 20))
        victim = generator.randrange(workers)
        if not running[victim].is_alive():
            break
        running[victim].kill()
        running[victim].join()
        running[victim] = start(target, workers + kill)
    for process in running:
        process.join()
        assert process.exitcode == 0, "a worker failed"


def start(target: tuple[Path, str, str, int], number: int) -> multiprocessing.process.BaseProcess:
    """Start a worker and return it."""
    process = CONTEXT.Process(target=worker, args=(*target, number))
    process.start()
    return process


def worker(folder: Path, storage: str, study: str, count: int, number: int) -> None:
    """Search, and write the result to a file of the worker."""
    dev = read_pairs("starter", Split.DEV)
    result = search(
        Encoder.load(str(folder / "model"), precision="fp32"),
        candidates(count, dev),
        dev,
        folder=folder / study / str(number),
        storage=storage,
        study_name=study,
    )
    result.file.write(folder / study / f"{number}.json")


def candidates(count: int, dev: Pairs) -> list[Demonstration]:
    """Return random demonstrations: words of the development pairs in random order."""
    words = sorted({word for text in dev.sentences() for word in text.split()})
    generator = np.random.default_rng(0)
    return [
        Demonstration(sentence=" ".join(generator.choice(words, 9)), word=generator.choice(words))
        for _ in range(count)
    ]


def report(folder: Path, storage: str, study: str, workers: int, kills: int) -> list[object]:
    """Print the time of a search; return the result, which must be the same for all workers."""
    trials = optuna.load_study(study_name=study, storage=storage).trials
    keys = [(trial.user_attrs["candidate"], trial.user_attrs["pairs"]) for trial in trials]
    files = [DemonstrationsFile.read(path) for path in sorted((folder / study).glob("*.json"))]
    assert len(keys) == len(set(keys)), "a candidate was scored twice on a rung"
    assert len(files) == workers
    assert all(file.ranking == files[0].ranking for file in files)
    begin = min(trial.datetime_start for trial in trials if trial.datetime_start)
    seconds = (
        max(t.datetime_complete for t in trials if t.datetime_complete) - begin
    ).total_seconds()
    print(
        f"workers {workers}, kills {kills}: {len(trials)} trials, none repeated,"
        f" {len({key for key, _ in keys}) - 1} candidates,"
        f" {seconds:.0f} s, {len(trials) / seconds:.1f} trials per second",
        flush=True,
    )
    return [files[0].prompts, files[0].ranking]


if __name__ == "__main__":
    main()
