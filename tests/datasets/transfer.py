"""Small SentEval transfer tasks in the toolkit's own layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GOOD = ("bright", "lovely", "warm", "kind")
BAD = ("dull", "ugly", "cold", "cruel")


def write_opposites(folder: Path, name: str, negative: str, positive: str, count: int = 40) -> None:
    """Write a task with one file per class."""
    parent = folder / name
    parent.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for file, words in ((negative, BAD), (positive, GOOD)):
        lines = [f"a {generator.choice(words)} film about thing {row}" for row in range(count)]
        (parent / file).write_text("\n".join(lines) + "\n")


def write_trec(folder: Path) -> None:
    """Write TREC with two of its six types, encoded in Latin-1."""
    parent = folder / "TREC"
    parent.mkdir(parents=True)
    for file, count in (("train_5500.label", 40), ("TREC_10.label", 10)):
        lines = [
            f"HUM:ind Who is number {row} ?" if row % 2 else f"LOC:city Where lies caf\xe9 {row} ?"
            for row in range(count)
        ]
        (parent / file).write_bytes(("\n".join(lines) + "\n").encode("latin-1"))


def write_mrpc(folder: Path) -> None:
    """Write MRPC with its byte-order mark and header."""
    parent = folder / "MRPC"
    parent.mkdir(parents=True)
    for file, count in (("msr_paraphrase_train.txt", 40), ("msr_paraphrase_test.txt", 12)):
        lines = ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        for row in range(count):
            other = f"sentence number {row}" if row % 2 else f"something else {row * 7}"
            lines.append(f"{row % 2}\t{row}\t{row}\tsentence number {row}\t{other}")
        (parent / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_sst(folder: Path) -> None:
    """Write SST with its dev set."""
    parent = folder / "SST" / "binary"
    parent.mkdir(parents=True)
    for part, count in (("train", 40), ("dev", 12), ("test", 12)):
        lines = [f"a {(BAD, GOOD)[row % 2][row % 4]} film {row}\t{row % 2}" for row in range(count)]
        (parent / f"sentiment-{part}").write_text("\n".join(lines) + "\n")
