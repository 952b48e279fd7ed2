"""SentEval's folder layout, with its quirks.

Source of the layouts: the SentEval toolkit (arXiv 1803.05449) and the files themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError
from demosearch.files import read_text

# genre, file, year, id, score, sentence1, sentence2; some rows carry licence columns after these.
_STSB_SCORE, _STSB_FIRST, _STSB_SECOND = 4, 5, 6


def find_stsb(folder: Path, split: str) -> Path | None:
    """Return the STS-B file of a split in a SentEval tree, or None."""
    name = f"sts-{split}.csv"
    for place in ("STS/STSBenchmark", "STSBenchmark", "senteval/STS/STSBenchmark", "."):
        if (path := folder / place / name).is_file():
            return path
    return None


def looks_like_stsb(path: Path) -> bool:
    """Whether a file named .csv is SentEval's tab-separated STS-B without header."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline().split("\t")
    except (OSError, UnicodeDecodeError):
        return False
    return len(first) > _STSB_SECOND and first[0].startswith("main-")


def read_stsb(path: Path, name: str) -> Pairs:
    """Read STS-B as SentEval has it: tab-separated, no header, no quoting.

    Raises:
        UserError: a row has too few fields or a score that is no number.
    """
    rows = []
    for number, line in _lines(path):
        fields = line.split("\t")
        if len(fields) <= _STSB_SECOND:
            raise UserError(f"{path}, line {number}: {len(fields)} fields, at least 7 are needed")
        score = _number(fields[_STSB_SCORE], path, number)
        rows.append((fields[_STSB_FIRST], fields[_STSB_SECOND], score))
    return _pairs(name, rows)


def sts_subsets(folder: Path, year: str) -> list[str]:
    """Return the names of the subsets of STS12..STS16, sorted; empty if the folder is not there."""
    place = folder / "STS" / f"{year}-en-test"
    return sorted(
        path.name.removeprefix("STS.input.").removesuffix(".txt")
        for path in place.glob("STS.input.*.txt")
    )


def read_sts_subset(folder: Path, year: str, subset: str) -> Pairs:
    """Read one subset of STS12..STS16; pairs without a gold score are left out.

    Raises:
        UserError: the score file is missing, or has another number of lines.
    """
    place = folder / "STS" / f"{year}-en-test"
    inputs = [line.split("\t") for _, line in _lines(place / f"STS.input.{subset}.txt")]
    gold_file = place / f"STS.gs.{subset}.txt"
    golds = [line for _, line in _lines(gold_file)]
    if len(inputs) != len(golds):
        raise UserError(f"{gold_file}: {len(golds)} scores for {len(inputs)} pairs")
    rows = []
    for number, (fields, gold) in enumerate(zip(inputs, golds, strict=True), start=1):
        if not gold.strip():
            continue
        if len(fields) < 2:
            raise UserError(f"{place}/STS.input.{subset}.txt, line {number}: one sentence only")
        rows.append((fields[0], fields[1], _number(gold, gold_file, number)))
    return _pairs(f"{year}.{subset}", rows)


def read_sick(folder: Path) -> Pairs | None:
    """Read SICK's relatedness test set, or return None if the folder has none."""
    path = folder / "SICK" / "SICK_test_annotated.txt"
    if not path.is_file():
        return None
    rows = []
    for number, line in _lines(path):
        if number == 1:
            continue
        fields = line.split("\t")
        if len(fields) < 4:
            raise UserError(f"{path}, line {number}: {len(fields)} fields, at least 4 are needed")
        rows.append((fields[1], fields[2], _number(fields[3], path, number)))
    return _pairs("sickr", rows)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines; only line feeds end a line, as some texts hold other separators."""
    text = read_text(path, "SentEval file")
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        yield number, line.rstrip("\r")


def _number(value: str, path: Path, number: int) -> float:
    try:
        return float(value)
    except ValueError:
        raise UserError(f"{path}, line {number}: score {value!r} is not a number") from None


def _pairs(name: str, rows: list[tuple[str, str, float]]) -> Pairs:
    return Pairs(
        name,
        tuple(first for first, _, _ in rows),
        tuple(second for _, second, _ in rows),
        tuple(score for _, _, score in rows),
    )
