"""Commands read the same rows from every format of a table, with the columns that a user names."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from demosearch.candidates import Candidate, write_candidates
from demosearch.cli.app import main
from tests.fakes import fake_pairs

CANDIDATES = [Candidate(sentence=f"A text {row}.", word=f"W{row}") for row in range(3)]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the same pairs and candidates in several layouts, and work beside them."""
    monkeypatch.chdir(tmp_path)
    pairs = fake_pairs(24)
    rows = [*zip(pairs.sentences1, pairs.sentences2, pairs.scores, strict=True)]
    # No line break ends in the column of the label, and a quote is never closed on its line.
    rows[3] = (f'"{rows[3][0]}', rows[3][1], rows[3][2])
    rows[9] = (rows[9][0], f'{rows[9][1]}"', rows[9][2])
    with Path("pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sentence1", "sentence2", "score"), *rows])
    lines = [
        f"{row}\t{first}\t{second}\t{label}" for row, (first, second, label) in enumerate(rows)
    ]
    Path("glue.tsv").write_text("\n".join(["index\tpremise\thypothesis\tlabel", *lines]))
    write_candidates("c.jsonl", CANDIDATES)
    Path("c.tsv").write_text(
        "word\tsentence\n" + "".join(f"{c.word}\t{c.sentence}\n" for c in CANDIDATES)
    )
    return tmp_path


def output(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert main([*map(str, arguments), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


NAMED = ("--columns", "premise,hypothesis,label")


def test_a_run_is_the_same_for_every_layout(
    tiny: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = ("run", "--model", tiny("opt"), "--pipeline", "quickstart")
    results = [
        output(
            capsys,
            *(*run, "--dev", pairs, "--test", pairs),
            *("--candidates", pool, "--out", out, *columns),
        )
        for pairs, pool, out, columns in (
            ("pairs.csv", "c.jsonl", "a", ()),
            ("glue.tsv", "c.tsv", "b", NAMED),
            # The second time the run is complete, and its result is read.
            ("glue.tsv", "c.tsv", "b", NAMED),
        )
    ]
    for result in results[1:]:
        file, expected = result["demonstrations"], results[0]["demonstrations"]
        assert file["demonstrations"] == expected["demonstrations"]
        assert file["ranking"] == expected["ranking"]
        assert file["dev"] == {**expected["dev"], "name": "glue"}
        assert result["test"] == {**results[0]["test"], "name": "glue"}
    settings = yaml.safe_load(Path("b/pipeline.yaml").read_text())
    assert settings["columns"] == ["premise", "hypothesis", "label"]


def test_a_search_reads_named_columns_of_excluded_pairs_too(
    tiny: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        output(
            capsys, "search", "--model", tiny("opt"), "--candidates", "c.tsv", "--dev", pairs,
            "--exclude", pairs, "--out", f"{pairs}.json", *columns,
        )
        for pairs, columns in (("pairs.csv", ()), ("glue.tsv", NAMED))
    ]  # fmt: skip
    assert files[0]["ranking"] == files[1]["ranking"]
    assert files[0]["dev"]["sha256"] == files[1]["dev"]["sha256"]


def test_an_evaluation_is_the_same_for_every_layout(
    tiny: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [
        output(capsys, "evaluate", "--model", tiny("opt"), "--no-cache", "--tasks", pairs, *columns)["tasks"][pairs]
        for pairs, columns in (("pairs.csv", ()), ("glue.tsv", NAMED))
    ]  # fmt: skip
    assert tasks[0]["sha256"] == tasks[1]["sha256"]
    assert tasks[0]["score"] == tasks[1]["score"]


def test_a_tsv_without_quoting_has_a_vector_for_every_line(
    tiny: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    embed = ("embed", "--model", tiny("opt"), "--column")
    for column, name in (("premise", "glue.tsv"), ("sentence1", "pairs.csv")):
        assert output(capsys, *embed, column, name, "--out", f"{column}.npy")["texts"] == 24
    np.testing.assert_array_equal(np.load("premise.npy"), np.load("sentence1.npy"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --dev glue.tsv --columns a,b", "--columns must be three different names"),
        ("run --dev glue.tsv", "sentence1, sentence2, score but got index, premise"),
        ("run --dev starter --columns a,b,c", "starter has fixed columns"),
        ("run --dev glue.tsv --set columns=a,b,b", "--set columns: must be three different names"),
        ("run --dev glue.tsv --set columns=[a,b]", "--set columns: must be three different names"),
        ("evaluate --tasks stsb --columns a,b,c", "no file of pairs is read"),
        (
            "finetune --train c.tsv --out a --columns word --dev-columns a,b,c",
            "no file of pairs is",
        ),
        ("finetune --train c.tsv --out a --columns word --dev glue.tsv", "--dev-columns"),
        ("candidates --labeler none --columns a,b,c --out d.jsonl", "no file of pairs is read"),
    ],
)
def test_columns_that_cannot_be_used_are_refused(
    tiny: Callable[[str], Path],
    arguments: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, *options = arguments.split()
    assert main([command, "--model", str(tiny("opt")), *options]) == 2
    assert message in capsys.readouterr().err
