"""SentEval's data folder.

Source of the layouts: the SentEval toolkit (arXiv 1803.05449) and the files. As in the toolkit, the
words of a text are joined by single spaces, and the examples of a classification task are sorted by
length and label, because their order determines the folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from demosearch._common.files import read_text
from demosearch._common.lines import split_lines
from demosearch.datasets.classification import Classification, Examples
from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError, short

# genre, file, year, id, score, sentence1, sentence2; some rows have license columns after these.
_STSB_SCORE, _STSB_FIRST, _STSB_SECOND = 4, 5, 6
# Coarse question types, in the order of their class indices.
_TREC_TYPES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
# SentEval's subsets. STS13's SMT is excluded because of its license, as in all published results.
STS_SUBSETS = {
    "STS12": ("MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews"),
    "STS13": ("FNWN", "OnWN", "headlines"),
    "STS14": ("OnWN", "deft-forum", "deft-news", "headlines", "images", "tweet-news"),
    "STS15": ("answers-forums", "answers-students", "belief", "headlines", "images"),
    "STS16": (
        "answer-answer",
        "headlines",
        "plagiarism",
        "postediting",
        "question-question",
    ),
}
# label, id, id, text, text
_MRPC_LABEL, _MRPC_FIRST, _MRPC_SECOND = 0, 3, 4
# Text, second text (empty if an example has only one), class index.
_Row: TypeAlias = tuple[str, str, int]


def find_stsb(folder: Path, split: str) -> Path | None:
    """Return the STS-B file of a split in a SentEval tree, or None."""
    name = f"sts-{split}.csv"
    for parent in ("STS/STSBenchmark", "STSBenchmark", "senteval/STS/STSBenchmark", "."):
        if (path := folder / parent / name).is_file():
            return path
    return None


def looks_like_stsb(path: Path) -> bool:
    """Whether a .csv file is SentEval's STS-B, which is tab-separated and has no header."""
    try:
        with path.open("rb") as file:
            first = file.readline().decode("utf-8-sig").split("\t")
    except (OSError, UnicodeDecodeError):
        return False
    return len(first) > _STSB_SECOND and first[0].startswith("main-")


def read_stsb(path: Path, name: str) -> Pairs:
    """Read SentEval's STS-B: tab-separated, without header and quoting.

    Raises:
        UserError: a row has too few fields or a score that is not a number.
    """
    rows = []
    for number, line in _lines(path):
        fields = line.split("\t")
        if len(fields) <= _STSB_SECOND:
            raise UserError(
                f"{path}, line {number}: the number of fields must be at least 7 but got {len(fields)}"
            )
        score = _number(fields[_STSB_SCORE], path, number)
        rows.append((fields[_STSB_FIRST], fields[_STSB_SECOND], score))
    return _pairs(name, rows)


def missing_sts_files(folder: Path, year: str) -> list[str]:
    """Return the paths of the files of STS12 to STS16 that are missing in a SentEval folder."""
    parent = Path("STS") / f"{year}-en-test"
    files = [
        parent / f"STS.{kind}.{subset}.txt"
        for subset in STS_SUBSETS[year]
        for kind in ("input", "gs")
    ]
    return [file.as_posix() for file in files if not (folder / file).is_file()]


def read_sts_subset(folder: Path, year: str, subset: str) -> Pairs:
    """Read one subset of STS12 to STS16; pairs without a gold score are skipped.

    Raises:
        UserError: a file is missing, or the numbers of lines differ.
    """
    parent = folder / "STS" / f"{year}-en-test"
    input_file = parent / f"STS.input.{subset}.txt"
    inputs = [line.split("\t") for _, line in _lines(input_file)]
    gold_file = parent / f"STS.gs.{subset}.txt"
    golds = [line for _, line in _lines(gold_file)]
    if len(inputs) != len(golds):
        raise UserError(
            f"{gold_file}: the number of scores must be {len(inputs)} but got {len(golds)}"
        )
    rows = []
    for number, (fields, gold) in enumerate(zip(inputs, golds, strict=True), start=1):
        if not gold.strip():
            continue
        if len(fields) < 2:
            raise UserError(f"{input_file}, line {number}: must contain two sentences but has one")
        rows.append((fields[0], fields[1], _number(gold, gold_file, number)))
    return _pairs(f"{year}.{subset}", rows)


def read_sick(folder: Path) -> Pairs | None:
    """Read SICK's relatedness test set; None if the folder does not contain it.

    Raises:
        UserError: a row has too few fields or a score that is not a number, or the pairs cannot be ranked.
    """
    path = folder / "SICK" / "SICK_test_annotated.txt"
    if not path.is_file():
        return None
    rows = []
    for number, line in _lines(path):
        if number == 1:
            continue
        fields = line.split("\t")
        if len(fields) < 4:
            raise UserError(
                f"{path}, line {number}: the number of fields must be at least 4 but got {len(fields)}"
            )
        rows.append((fields[1], fields[2], _number(fields[3], path, number)))
    return _pairs("sickr", rows).check(str(path))


def read_opposites(folder: Path, name: str, files: Sequence[str]) -> Classification | None:
    """Read a task with one file per class and one text per line: MR, CR, SUBJ, MPQA.

    Args:
        folder: the SentEval folder.
        name: the task's folder.
        files: the files of class 0 and of class 1.

    Returns:
        The task, which has no test set; None if a file is missing.

    Raises:
        UserError: there are too few examples, or all have the same class.
    """
    paths = [folder / name / file for file in files]
    if not all(path.is_file() for path in paths):
        return None
    examples = [(line, "", label) for label, path in enumerate(paths) for _, line in _lines(path)]
    return Classification(name.lower(), _examples(examples)).check(str(folder / name))


def read_sst(folder: Path) -> Classification | None:
    """Read SST with two classes: a text and its label per line, separated by a tab.

    Raises:
        UserError: a line is malformed, or the task is too small.
    """

    def parse(line: str) -> _Row:
        text, _, label = line.rpartition("\t")
        if label not in ("0", "1"):
            raise ValueError(f"the label must be 0 or 1 but got {label!r}")
        return text, "", int(label)

    files = [f"SST/binary/sentiment-{part}" for part in ("train", "dev", "test")]
    parts = _parts(folder, files, parse)
    return Classification("sst2", *parts).check(str(folder / "SST")) if parts else None


def read_trec(folder: Path) -> Classification | None:
    """Read TREC: lines of `TYPE:subtype question`, whose types are the classes.

    Raises:
        UserError: a type is unknown, or the task is too small.
    """

    def parse(line: str) -> _Row:
        kind = line.partition(":")[0]
        if kind not in _TREC_TYPES:
            raise ValueError(
                f"the question type must be one of {', '.join(_TREC_TYPES)} but got {short(kind)!r}"
            )
        return line.partition(" ")[2], "", _TREC_TYPES.index(kind)

    parts = _parts(folder, ["TREC/train_5500.label", "TREC/TREC_10.label"], parse)
    return (
        Classification("trec", parts[0], test=parts[1]).check(str(folder / "TREC"))
        if parts
        else None
    )


def read_mrpc(folder: Path) -> Classification | None:
    """Read MRPC: a header, then label, two ids and two texts, separated by tabs.

    Raises:
        UserError: a line is malformed, or the task is too small.
    """

    def parse(line: str) -> _Row:
        fields = line.split("\t")
        if len(fields) <= _MRPC_SECOND or fields[_MRPC_LABEL] not in ("0", "1"):
            raise ValueError("the fields must be label (0 or 1), id, id, text and text")
        return fields[_MRPC_FIRST], fields[_MRPC_SECOND], int(fields[_MRPC_LABEL])

    files = [f"MRPC/msr_paraphrase_{part}.txt" for part in ("train", "test")]
    parts = _parts(folder, files, parse, header=True, pairs=True)
    return (
        Classification("mrpc", parts[0], test=parts[1]).check(str(folder / "MRPC"))
        if parts
        else None
    )


def _parts(
    folder: Path,
    files: Sequence[str],
    parse: Callable[[str], _Row],
    *,
    header: bool = False,
    pairs: bool = False,
) -> list[Examples] | None:
    """Return the examples of each file, or None if a file is missing.

    Args:
        folder: the SentEval folder.
        files: paths of the splits in it.
        parse: returns the texts and the label of a line, or raises a ValueError with the reason.
        header: the first line is a header.
        pairs: an example has two texts.
    """
    paths = [folder / file for file in files]
    if not all(path.is_file() for path in paths):
        return None
    parts = []
    for path in paths:
        rows = []
        for number, line in list(_lines(path))[header:]:
            try:
                rows.append(parse(line))
            except ValueError as error:
                raise UserError(f"{path}, line {number}: {error}") from None
        parts.append(_examples(rows, pairs=pairs))
    return parts


def _examples(rows: list[_Row], *, pairs: bool = False) -> Examples:
    """Return examples in SentEval's order: by the number of words, then by label."""
    split = [(first.split(), second.split(), label) for first, second, label in rows]
    split.sort(key=lambda row: (len(row[0]), len(row[1]), row[2]))
    return Examples(
        tuple(" ".join(first) for first, _, _ in split),
        tuple(label for _, _, label in split),
        tuple(" ".join(second) for _, second, _ in split) if pairs else None,
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines."""
    text = read_text(path, "SentEval file", fallback="latin-1")
    yield from enumerate(split_lines(text), start=1)


def _number(value: str, path: Path, number: int) -> float:
    try:
        score = float(value)
        if not math.isfinite(score):
            raise ValueError
    except ValueError:
        raise UserError(
            f"{path}, line {number}: the score must be a number but got {value!r}"
        ) from None
    return score


def _pairs(name: str, rows: list[tuple[str, str, float]]) -> Pairs:
    return Pairs(
        name,
        tuple(" ".join(first.split()) for first, _, _ in rows),
        tuple(" ".join(second.split()) for _, second, _ in rows),
        tuple(score for _, _, score in rows),
    )
