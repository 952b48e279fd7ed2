from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from demosearch.datasets.texts import read_texts
from demosearch.errors import UserError

TEXTS = [f"Line number {number}, with a comma" for number in range(23)]


def test_all_input_formats_give_the_same_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame({"number": range(23), "text": TEXTS})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n")
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.txt"):
        assert list(read_texts(str(tmp_path / name))) == TEXTS, name
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(("\n".join(TEXTS) + "\n").encode()))
    )
    assert list(read_texts("-")) == TEXTS


def test_a_tsv_without_quoting_has_a_text_on_every_line(tmp_path: Path) -> None:
    lines = ["id\ttext", '1\t"Late,', "2\tagain and", '3\tagain."']
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    assert list(read_texts(str(tmp_path / "a.tsv"))) == ['"Late,', "again and", 'again."']


def test_standard_input_that_is_not_text_is_reported_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfA cat\r\n\xff\n")))
    texts = read_texts("-")
    assert next(texts) == "A cat"
    with pytest.raises(UserError, match=r"standard input is not UTF-8 text \(byte 10, line 2\)"):
        next(texts)


def test_a_missing_column_is_reported_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"body": "Hello"}) + "\n")
    assert list(read_texts(str(path), "body")) == ["Hello"]
    with pytest.raises(
        UserError,
        match=r"a\.jsonl, line 1: the columns must include 'text' or 'sentence' but got body",
    ):
        list(read_texts(str(path)))
