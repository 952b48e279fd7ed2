"""Running a command again and again, each time killed at another moment, until it comes to its end.

A process is killed after a random time, or just after it has begun to open, rename or delete the nth
file below its folder, so that the moments at which files are written are among them.
"""

from __future__ import annotations

import io
import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

# Forked from a process that has imported what takes long, a command starts at once.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "demosearch.cli.app",
        "demosearch.cli.run",
        "demosearch.finetune.train",
        "demosearch.report.page",
        "matplotlib.pyplot",
        "optuna",
        "peft",
        "sentence_transformers",
    ]
)
_TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir"}
_WRITING = os.O_WRONLY | os.O_RDWR
SECONDS = 120
# What a training says that was killed after its last write.
COMPLETE = "holds an adapter already"


@dataclass(frozen=True)
class Moment:
    """When a process is killed: so many seconds after its start, or after the nth touch of a file."""

    seconds: float
    touch: int = 0


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: exit status; below zero if it was killed.
        seconds: that it ran.
        touches: of files below its folder.
        said: on standard error.
    """

    status: int
    seconds: float
    touches: int
    said: str


def run(
    arguments: Sequence[str],
    folder: Path,
    moment: Moment | None = None,
    room: int | None = None,
) -> Ended:
    """Run a command in a folder, in a process of its own.

    Args:
        arguments: of `demosearch`.
        folder: where it works.
        moment: when it is killed; None is never.
        room: bytes that a file may hold; what is written beyond fails as on a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes = folder.parent / f"{folder.name}.notes"
    notes.mkdir(exist_ok=True)
    (notes / "touches").write_text("")
    said = notes / "said"
    said.unlink(missing_ok=True)
    process = _CONTEXT.Process(target=_call, args=(list(arguments), folder, notes, moment, room))
    started = time.monotonic()
    process.start()
    process.join(moment.seconds if moment and not moment.touch else SECONDS)
    if process.is_alive():
        assert moment, "it hangs"
        assert not moment.touch, "it hangs"
        process.kill()
        process.join()
    assert process.exitcode is not None
    return Ended(
        process.exitcode,
        time.monotonic() - started,
        len((notes / "touches").read_text()),
        said.read_text() if said.exists() else "",
    )


def _call(
    arguments: list[str], folder: Path, notes: Path, moment: Moment | None, room: int | None
) -> None:
    os.chdir(folder)
    os.environ["DEMOSEARCH_CACHE"] = str(folder / "cache")
    touches = os.open(notes / "touches", os.O_WRONLY | os.O_APPEND)
    counted = 0

    def count(event: str, values: tuple[Any, ...]) -> None:
        nonlocal counted
        if event not in _TOUCHES or not str(values[0]).startswith(str(folder)):
            return
        if event == "open" and not values[2] & _WRITING:
            return
        counted += 1
        if room is None:
            os.write(touches, b".")
        if moment and counted == moment.touch:
            # Unlike Python, the system does not wait for a better moment.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, moment.seconds)

    sys.addaudithook(count)
    from demosearch.cli.app import main

    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        if room is not None:
            # Python takes no notice of the signal, so that writing fails with an error.
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
        try:
            status = main(arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            (notes / "said").write_text(said.getvalue())
    sys.exit(status)


def survive(
    arguments: Callable[[Path], list[str]],
    folder: Path,
    result: Callable[[Path], object],
    kills: int,
    seed: int = 0,
) -> None:
    """Run a command undisturbed, then with so many kills, and compare what it leaves.

    Args:
        arguments: of the command that works in a folder.
        folder: for all the work.
        result: what must be the same, read from such a folder.
        kills: how often it is killed.
        seed: of the moments.
    """
    # The process that others are forked from begins with long imports.
    run(["pipelines"], folder / "warm")
    whole = run(arguments(folder / "whole"), folder / "whole")
    assert whole.status == 0, whole.said
    expected = result(folder / "whole")
    generator = random.Random(seed)
    places = (folder / f"killed-{number}" for number in itertools.count())
    place = next(places)
    killed = 0
    while killed < kills:
        if killed % 2:
            moment = Moment(generator.uniform(0, whole.seconds))
        else:
            # From hundredths of a millisecond to ten.
            pause = 10 ** generator.uniform(-5, -2)
            moment = Moment(pause, touch=generator.randint(1, whole.touches))
        ended = run(arguments(place), place, moment)
        if ended.status == 0 or COMPLETE in ended.said:
            # It came to its end before the moment; the next one is killed from its beginning.
            assert result(place) == expected, place
            place = next(places)
            continue
        assert ended.status in (-signal.SIGKILL, -signal.SIGALRM), ended.said
        killed += 1
        check_whole(place)
    ended = run(arguments(place), place)
    assert ended.status == 0 or COMPLETE in ended.said, ended.said
    assert result(place) == expected, place


def check_whole(folder: Path) -> None:
    """Check that no file is half written, but for hidden ones and a training's checkpoints."""
    readers: dict[str, Callable[[Path], object]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
        ".csv": pd.read_csv,
        ".npy": lambda path: np.load(path, allow_pickle=False),
        ".npz": lambda path: dict(np.load(path, allow_pickle=False)),
        ".safetensors": load_file,
    }
    for path in folder.rglob("*"):
        names = path.relative_to(folder).parts
        if "checkpoints" in names or any(name.startswith(".") for name in names):
            continue
        if path.suffix in readers:
            readers[path.suffix](path)
        if path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
