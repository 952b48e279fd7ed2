"""Any contents of a file are read, or are an error of one line that names the file.

The first tests use a table of contents, the later ones random contents; `make fuzz` tries more of these.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from demosearch.candidates import read_candidates
from demosearch.candidates.dictionary import read_dictionary
from demosearch.candidates.sources import read_sentences
from demosearch.candidates.wordnet import read_headwords
from demosearch.cli.app import main
from demosearch.datasets import Split, read_pairs
from demosearch.datasets.senteval import STS_SUBSETS
from demosearch.datasets.texts import read_texts
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.evaluation.result import Evaluation
from demosearch.evaluation.tasks import find_tasks, read_tasks
from demosearch.finetune import FinetuneSettings, read_training_rows
from demosearch.pipeline import load_finetuning, load_pipeline
from demosearch.report.runs import COLUMNS, read_table
from demosearch.selection.gain import read_evaluation
from demosearch.templates import read_template
from tests.examples import demonstrations_file

# The longest line of a `UserError`, with its path.
LONGEST_LINE = 850


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: the name of the file.
        good: valid contents.
        read: its reader, which raises `UserError`.
    """

    name: str
    good: bytes
    read: Callable[[Path], object]


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def json_lines(*rows: object) -> bytes:
    return lines(*(json.dumps(row) for row in rows))


PAIRS = [{"sentence1": f"a {row}", "sentence2": "b", "score": float(row)} for row in range(12)]
TRIPLETS = [{"sent0": f"a {row}", "sent1": "b", "hard_neg": "c"} for row in range(4)]
CANDIDATES = [{"sentence": f"Sentence {row}.", "word": "Word"} for row in range(3)]
TEMPLATE = {
    "query": '{demonstrations}It is "{text}", in short:"',
    "demonstration": 'It is "{text}", in short:"{word}".',
}
PIPELINE = {"description": "Mine.", "dev": "starter", "candidates": {"labeler": "none"}, "seed": 1}
FILE = demonstrations_file().model_dump(mode="json")
RESULT = {
    "system": {"model": FILE["model"], "prompts": FILE["prompts"]},
    "tasks": {
        "stsb": {
            "metric": "spearman",
            "score": 70.0,
            "pairs": 12,
            "sha256": "0" * 64,
            "subsets": {"all": 70.0},
            "other": {"pearson": 70.0},
        }
    },
    "average": {},
    "missing": [],
    "overlaps": [],
    "sentences_encoded": 24,
    "seconds": 1.0,
    "versions": {"demosearch": "0"},
}


def csv_of(rows: list[dict[str, Any]], separator: str = ",") -> bytes:
    values = [list(rows[0]), *([*row.values()] for row in rows)]
    return lines(*(separator.join(map(str, row)) for row in values))


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def read_finetuning(path: Path) -> FinetuneSettings:
    return load_finetuning(str(path))


def read_dev(path: Path) -> object:
    return read_pairs(str(path), Split.DEV)


def read_column(path: Path) -> list[str]:
    return list(read_texts(str(path)))


def read_senteval(path: Path) -> object:
    """Read a file at its path in a SentEval folder."""
    task, name = {
        "sick.txt": ("sickr", "SICK/SICK_test_annotated.txt"),
        "trec.label": ("trec", "TREC/train_5500.label"),
        "mrpc.txt": ("mrpc", "MRPC/msr_paraphrase_train.txt"),
        "sts.gs": ("sts12", "STS/STS12-en-test/STS.gs.MSRpar.txt"),
    }[path.name]
    file = path.parent / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(path.read_bytes())
    if task == "trec":
        (file.parent / "TREC_10.label").write_bytes(TREC)
    if task == "mrpc":
        (file.parent / "msr_paraphrase_test.txt").write_bytes(MRPC)
    if task == "sts12":
        texts = lines(*(f"a {row}\tb" for row in range(12)))
        for subset in STS_SUBSETS["STS12"]:
            (file.parent / f"STS.input.{subset}.txt").write_bytes(texts)
            gold = file.parent / f"STS.gs.{subset}.txt"
            gold.write_bytes(file.read_bytes() if gold == file else GOLD)
    return read_tasks(find_tasks(task), path.parent)


GOLD = lines(*("2" for _ in range(11)), "3")
SICK = lines(
    "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment",
    *(f"{row}\ta {row}\tb\t{1 + row % 5}\tNEUTRAL" for row in range(12)),
)
TREC = lines(
    *(f"{label}:x What is {row} ?" for row, label in enumerate(["ABBR", "DESC", "HUM", "LOC"] * 6))
)
MRPC = lines(
    "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    *(f"{row % 2}\t1\t2\ta {row}\tb" for row in range(24)),
)

EVALUATION = {
    "test": {
        "name": "test",
        "pairs": 24,
        "sha256": "0",
        "spearman": 72.5,
        "baseline_spearman": 67.5,
        "gain": 5.0,
        "gain_ci95": [4.0, 6.0],
    }
}
TRIALS = [dict.fromkeys(COLUMNS, str(row)) for row in range(3)]

KINDS = {
    kind.name: kind
    for kind in (
        Kind("candidates.jsonl", json_lines(*CANDIDATES), read_candidates),
        Kind("demonstrations.json", json.dumps(FILE).encode(), DemonstrationsFile.read),
        Kind("result.json", json.dumps(RESULT).encode(), Evaluation.read),
        Kind("evaluation.json", json.dumps(EVALUATION).encode(), read_evaluation),
        Kind("trials.csv", csv_of(TRIALS), read_table),
        Kind("template.yaml", yaml.safe_dump(TEMPLATE).encode(), read_template),
        Kind(
            "pipeline.yaml",
            yaml.safe_dump(PIPELINE).encode(),
            lambda path: load_pipeline(str(path)),
        ),
        Kind("finetune.yaml", b"command: finetune\nepochs: 1\n", read_finetuning),
        Kind("pairs.csv", csv_of(PAIRS), read_dev),
        Kind("pairs.tsv", csv_of(PAIRS, "\t"), read_dev),
        Kind("pairs.jsonl", json_lines(*PAIRS), read_dev),
        Kind("pairs.parquet", parquet_of(PAIRS), read_dev),
        Kind("triplets.csv", csv_of(TRIPLETS), read_training_rows),
        Kind("triplets.jsonl", json_lines(*TRIPLETS), read_training_rows),
        Kind("triplets.parquet", parquet_of(TRIPLETS), read_training_rows),
        Kind(
            "words.csv",
            b"word,definition\nIce,frozen water\n",
            lambda path: read_dictionary(str(path)),
        ),
        Kind("headwords.tsv", b"ice\tnoun\n", read_headwords),
        Kind(
            "sentences.csv", b"sentence\nIce melts.\n", lambda path: read_sentences(str(path), None)
        ),
        Kind("texts.jsonl", json_lines({"text": "Ice melts."}), read_column),
        Kind("texts.parquet", parquet_of([{"text": "Ice melts."}]), read_column),
        Kind("sick.txt", SICK, read_senteval),
        Kind("trec.label", TREC, read_senteval),
        Kind("mrpc.txt", MRPC, read_senteval),
        Kind("sts.gs", GOLD, read_senteval),
    )
}
GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda good: b"",
    "blanks": lambda good: b" \n\n\t\n",
    "every byte": lambda good: bytes(range(256)) * 4,
    "a picture": lambda good: b"\x89PNG\r\n\x1a\n" + bytes(64),
    "an archive": lambda good: b"PK\x03\x04" + good,
    "another encoding": lambda good: "Déjà vu {[:\n".encode("latin-1") * 9,
    "UTF-16": lambda good: (good.decode("latin-1") + "\n").encode("utf-16"),
    "a page": lambda good: b"<!doctype html>\n<title>404: not found</title>\n",
    "the first half": lambda good: good[: len(good) // 2 - 1],
    "a number": lambda good: b"42\n",
    "a list": lambda good: b"[1, [2]]\n",
    "an object in an object": lambda good: b'{"a": {"b": [null]}}\n',
    "a brace": lambda good: b"{\n",
    "half a character": lambda good: b'{"sentence": "\\ud83d", "text": "\\ud83d"}\n',
    "a quote": lambda good: b'"\n',
    "ever deeper": lambda good: b"[" * 100_000,
    "ever deeper objects": lambda good: b'{"a":' * 100_000,
    "one long line": lambda good: b"x" * 1_000_000,
    "many commas": lambda good: b"," * 10_000 + b"\n" + b"," * 9_999 + b"\n",
}
# Bytes before a header or a word, and the first half of the rows, are valid.
STILL_GOOD = {
    ("headwords.tsv", "an archive"),
    ("trials.csv", "an archive"),
    ("trials.csv", "the first half"),
    ("mrpc.txt", "an archive"),
    ("sick.txt", "an archive"),
    ("trec.label", "the first half"),
    ("triplets.jsonl", "the first half"),
}
# Files that are parts of a folder, or belong to other files.
PARTS = ("sick.txt", "trec.label", "mrpc.txt", "sts.gs", "words.ifo")


def error_of(read: Callable[[Path], object], path: Path) -> str | None:
    """Return the error of reading a file, or None; other exceptions fail the test."""
    try:
        read(path)
    except UserError as error:
        message = str(error)
        assert "\n" not in message, message
        assert len(message) < LONGEST_LINE, message[:LONGEST_LINE]
        return message
    return None


@pytest.mark.parametrize("name", [name for name in KINDS if name != "words.ifo"])
def test_valid_files_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(KINDS[name].good)
    assert error_of(KINDS[name].read, path) is None


@pytest.mark.parametrize(
    ("name", "garbage"),
    [pair for pair in itertools.product(KINDS, GARBAGE) if pair not in STILL_GOOD],
)
def test_garbage_is_an_error_that_names_the_file(name: str, garbage: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(GARBAGE[garbage](KINDS[name].good))
    message = error_of(KINDS[name].read, path)
    assert message is not None
    assert str(tmp_path) in message


@pytest.mark.parametrize("name", [name for name in KINDS if name not in PARTS])
def test_a_missing_file_and_a_folder_are_errors_that_name_the_path(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "folder" / name).mkdir(parents=True)
    for folder in ("none", "folder"):
        message = error_of(KINDS[name].read, tmp_path / folder / name)
        assert message is not None
        assert name in message


def locations(value: Any, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the location of each part of a JSON value."""
    if here:
        yield here
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from locations(each, (*here, key))


def parent(value: Any, location: tuple[str | int, ...]) -> Any:
    for key in location[:-1]:
        value = value[key]
    return value


FORMATS: dict[str, tuple[dict[str, Any], Callable[[Any], bytes]]] = {
    "demonstrations.json": (FILE, lambda value: json.dumps(value).encode()),
    "result.json": (RESULT, lambda value: json.dumps(value).encode()),
    "template.yaml": (TEMPLATE, lambda value: yaml.safe_dump(value).encode()),
    "pipeline.yaml": (PIPELINE, lambda value: yaml.safe_dump(value).encode()),
    "candidates.jsonl": (CANDIDATES[0], lambda value: json_lines(value)),
}
# The id of a file is ignored: it is computed from the texts.
FIELDS = [
    (name, location)
    for name, (good, _) in FORMATS.items()
    for location in locations(good)
    if location[-1] != "id"
]
# Fields of these have any name.
FREE = ("versions", "tasks", "subsets", "other")


@pytest.mark.parametrize(("name", "location"), FIELDS, ids=lambda value: str(value))
def test_a_field_of_another_type_is_named(
    name: str, location: tuple[str | int, ...], tmp_path: Path
) -> None:
    good, dump = FORMATS[name]
    value = copy.deepcopy(good)
    parent(value, location)[location[-1]] = {"not": [{"what": {"stands": "here"}}]}
    (tmp_path / name).write_bytes(dump(value))
    message = error_of(KINDS[name].read, tmp_path / name)
    assert message is not None
    assert str(tmp_path / name) in message
    named = [str(key) for key in location if isinstance(key, str)]
    assert any(key in message for key in named), message


@pytest.mark.parametrize(
    ("name", "location"),
    [
        (name, location)
        for name, location in FIELDS
        if isinstance(location[-1], str) and not (len(location) > 1 and location[-2] in FREE)
    ],
    ids=lambda value: str(value),
)
def test_a_misspelled_field_is_named(
    name: str, location: tuple[str | int, ...], tmp_path: Path
) -> None:
    good, dump = FORMATS[name]
    value = copy.deepcopy(good)
    holder = parent(value, location)
    holder[f"{location[-1]}_"] = holder.pop(location[-1])
    (tmp_path / name).write_bytes(dump(value))
    message = error_of(KINDS[name].read, tmp_path / name)
    assert message is not None
    assert str(tmp_path / name) in message
    assert str(location[-1]) in message


def mutated(good: bytes) -> st.SearchStrategy[bytes]:
    """Return variants of valid contents with parts removed, repeated or replaced."""
    index = st.integers(0, len(good))
    pieces = st.one_of(
        st.binary(max_size=12),
        st.text(max_size=6).map(str.encode),
        st.sampled_from([b"\n", b"\t", b",", b'"', b"{", b"]", b"null", b"1e999", b"-1", b"\x00"]),
        st.tuples(index, index).map(lambda ends: good[min(ends) : max(ends)]),
    )

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        changed = good
        for first, second, piece in changes:
            begin, end = sorted((first % (len(changed) + 1), second % (len(changed) + 1)))
            changed = changed[:begin] + piece + changed[end:]
        return changed

    return st.lists(st.tuples(index, index, pieces), min_size=1, max_size=3).map(apply)


@pytest.mark.parametrize("name", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_file_contains_it_is_read_or_an_error(
    name: str, tmp_path: Path, data: st.DataObject
) -> None:
    contents = st.one_of(mutated(KINDS[name].good), st.binary(), st.text().map(str.encode))
    path = tmp_path / name
    path.write_bytes(data.draw(contents))
    error_of(KINDS[name].read, path)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("name", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_field_contains_it_is_read_or_an_error(
    name: str, tmp_path: Path, data: st.DataObject
) -> None:
    good, dump = FORMATS[name]
    value = copy.deepcopy(good)
    location = data.draw(st.sampled_from(list(locations(good))))
    parent(value, location)[location[-1]] = data.draw(JSON)
    path = tmp_path / name
    path.write_bytes(dump(value))
    error_of(KINDS[name].read, path)


@pytest.mark.parametrize(
    "arguments",
    [
        *(f"run --model m --dev {dev} --set {setting}" for dev in ("starter",) for setting in (
            "seed=-x", "shots=0", "ensemble=0", "budget=0", "budget=-1m", "budget=0-sentences",
            "patience=-3", "layer=first", "unknown=0", "strategy=[]", "candidates=3",
            "candidates.n_sentences=-1", "candidates.labeler=me", "candidates.votes=0.5",
            "max_extra_tokens=-1", "=", "a.b.c=1", "seed", "metric=5", "template=''", "dev=[]",
        )),
        *(f"search --model m --dev starter --candidates none.jsonl --out {out}" for out in (
            "o.csv", "o", ".", "",
        )),
        "compare none.json --table pdf",
        "compare",
        "evaluate --model m --tasks ,",
        "evaluate --model m --method guess",
        "embed --model m none.txt --out v.npz",
        "finetune --model m --train none.csv --out a --layer first",
        "export none.json --to pickle --out o",
        "report none",
        "candidates --n-sentences many --out c.jsonl",
        "candidates --labeler none --seed -1 --out c.jsonl",
        "search --model m --candidates none.jsonl --dev starter --seed -1 --out o.json",
        "candidates --price free --labeler none --out c.jsonl",
        "candidates --show none.jsonl --out c.jsonl",
        "run",
        "fly",
    ],
)  # fmt: skip
def test_wrong_options_are_errors_of_one_line(
    arguments: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split(" ")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("demosearch: ")
    assert not list(tmp_path.iterdir())
