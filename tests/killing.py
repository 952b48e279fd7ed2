"""Run a command repeatedly, killed at a different moment each time, until it finishes.

A process is killed after a random time, or shortly after it starts to open, rename or delete the nth
file below its folder, so that it is also killed while it writes files.
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

# A command that is forked from a process with the slow imports starts immediately. A test process has one
# such server, so that all tests that fork use this context.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "demosearch.cli.app",
        "demosearch.cli.run",
        "demosearch.finetune.train",
        "demosearch.report.page",
        "matplotlib.pyplot",
        "optuna",
        "peft",
        "sentence_transformers",
        "tests.selection.searches",
    ]
)
_TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir"}
_WRITING = os.O_WRONLY | os.O_RDWR
SECONDS = 120
# The error of a training that was killed after its last write.
COMPLETE = "already contains an adapter"


@dataclass(frozen=True)
class Moment:
    """When a process is killed: seconds after its start, or after it touches the nth file."""

    seconds: float
    touch: int = 0


# What `finetune` says of an adapter that is worse than none, as a tiny model's may be; the status is 1.
DOUBT = "is worse than none"


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: exit status; negative if it was killed.
        seconds: duration.
        touches: number of operations on files below its folder.
        output: standard output and standard error.
    """

    status: int
    seconds: float
    touches: int
    output: str

    @property
    def is_finished(self) -> bool:
        """Whether the command did what it was asked to, also if its result should not be used."""
        return self.status == 0 or (self.status == 1 and DOUBT in self.output)


def run(
    arguments: Sequence[str],
    folder: Path,
    moment: Moment | None = None,
    room: int | None = None,
) -> Ended:
    """Run a command in a folder, in its own process.

    Args:
        arguments: arguments of `demosearch`.
        folder: its working folder.
        moment: when it is killed; None means never.
        room: maximum size of a file in bytes; larger writes fail as on a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes = folder.parent / f"{folder.name}.notes"
    notes.mkdir(exist_ok=True)
    (notes / "touches").write_text("")
    output = notes / "output"
    output.unlink(missing_ok=True)
    process = CONTEXT.Process(target=_call, args=(list(arguments), folder, notes, moment, room))
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
        output.read_text() if output.exists() else "",
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
            # The signal kills the process at once, while Python would delay a handler.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, moment.seconds)

    sys.addaudithook(count)
    from demosearch.cli.app import main

    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    output = io.StringIO()
    with redirect_stderr(output), redirect_stdout(output):
        if room is not None:
            # Python ignores the signal, so that writing fails with an error.
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
        try:
            status = main(arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            (notes / "output").write_text(output.getvalue())
    sys.exit(status)


def survive(
    arguments: Callable[[Path], list[str]],
    folder: Path,
    result: Callable[[Path], object],
    kills: int,
    seed: int = 0,
) -> None:
    """Run a command without kills, then with kills, and compare the results.

    Args:
        arguments: returns the arguments for a working folder.
        folder: folder for all working folders.
        result: returns the part of a working folder that must be the same.
        kills: number of kills.
        seed: random seed of the moments.
    """
    # The process that others are forked from starts with slow imports.
    run(["pipelines"], folder / "warm")
    whole = run(arguments(folder / "whole"), folder / "whole")
    assert whole.is_finished, whole.output
    expected = result(folder / "whole")
    generator = random.Random(seed)
    folders = (folder / f"killed-{number}" for number in itertools.count())
    current = next(folders)
    killed = 0
    while killed < kills:
        if killed % 2:
            moment = Moment(generator.uniform(0, whole.seconds))
        else:
            # Between 0.01 and 10 milliseconds.
            pause = 10 ** generator.uniform(-5, -2)
            moment = Moment(pause, touch=generator.randint(1, whole.touches))
        ended = run(arguments(current), current, moment)
        if ended.is_finished or COMPLETE in ended.output:
            # It finished before the moment; the next one starts in an empty folder.
            assert result(current) == expected, current
            current = next(folders)
            continue
        assert ended.status in (-signal.SIGKILL, -signal.SIGALRM), ended.output
        killed += 1
        check_whole(current)
    ended = run(arguments(current), current)
    assert ended.is_finished or COMPLETE in ended.output, ended.output
    assert result(current) == expected, current


def check_whole(folder: Path) -> None:
    """Check that each file is complete, except hidden files and checkpoints of a training."""
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
