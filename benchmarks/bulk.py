"""`demosearch embed` with many short lines: throughput, resident memory, and resuming after a kill.

    python benchmarks/bulk.py [--data DATA] [--lines 200000] [--kill-after 60]

The data folder defaults to the environment variable DEMOSEARCH_DATA. The lines are STS-B sentences with a
number appended, so that all lines differ. The first run is killed after the given number of seconds, and
the second one resumes. Memory is read twice a second.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from measure import machine, show

from demosearch import Encoder, Prompt
from demosearch.datasets import Split, read_pairs


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", default=os.environ.get("DEMOSEARCH_DATA"))
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--kill-after", type=float, default=60, help="seconds; 0: never")
    arguments = parser.parse_args()

    sentences = read_pairs("stsb", Split.DEV, arguments.data).sentences()
    pairs = itertools.islice(itertools.combinations(sentences, 2), arguments.lines)
    lines = [f"{first.rstrip('.')} {number}" for number, (first, _) in enumerate(pairs)]
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "lines.txt", Path(folder) / "vectors.npy"
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "demosearch", "embed", "--model", arguments.model]
        command += [str(source), "--out", str(out), "--quiet"]
        # The time for one line is the time to start.
        alone = Path(folder) / "one.txt"
        alone.write_text("one line\n", encoding="utf-8")
        started = time.perf_counter()
        start = [*command[:-4], str(alone), "--out", str(out), "--quiet"]
        subprocess.run(start, check=True)
        starting = time.perf_counter() - started
        out.unlink()
        lost = kept = 0.0
        if arguments.kill_after:
            started = time.perf_counter()
            process = subprocess.Popen(command)
            time.sleep(arguments.kill_after)
            process.kill()
            process.wait()
            lost = time.perf_counter() - started
            parts = out.with_name(f".{out.name}.parts")
            kept = sum(len(np.load(part)) for part in parts.glob("*.npy"))
        started = time.perf_counter()
        process = subprocess.Popen(command)
        resident = []
        while process.poll() is None:
            resident.append(psutil.Process(process.pid).memory_info().rss)
            time.sleep(0.5)
        seconds = time.perf_counter() - started
        vectors = np.load(out, mmap_mode="r")
        if len(vectors) != len(lines):
            raise SystemExit(f"{len(vectors)} rows for {len(lines)} lines")

    encode_rate = plain_rate(arguments.model, lines)
    half = len(resident) // 2
    done = len(lines) - kept
    print(f"{arguments.model}, {len(lines)} lines; {machine()}\n")
    show(
        ("", ""),
        [
            ("killed after, seconds", f"{lost:.0f}"),
            ("lines kept", f"{kept:.0f}"),
            ("start, seconds", f"{starting:.0f}"),
            ("remaining lines, seconds (with the start)", f"{seconds:.0f}"),
            ("lines per second after the start", f"{done / (seconds - starting):.1f}"),
            (
                "ratio to one call of encode on 2048 lines",
                f"{done / (seconds - starting) / encode_rate:.2f}",
            ),
            ("resident memory, first half", f"{max(resident[:half]) >> 20} MiB"),
            ("resident memory, second half", f"{max(resident[half:]) >> 20} MiB"),
        ],
    )


def plain_rate(model: str, lines: list[str]) -> float:
    """Return the lines per second of encoding a sample of them in memory."""
    encoder = Encoder.load(model)
    step = max(1, len(lines) // 2048)
    part = lines[::step][:2048]
    encoder.encode(part[:64], Prompt())
    started = time.perf_counter()
    encoder.encode(part, Prompt())
    return len(part) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
