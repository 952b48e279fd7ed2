"""Rows of tables, compared with pandas, with the csv module, and with the lines of the file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import parquet

from demosearch._common.tables import read_rows
from demosearch.errors import UserError

PLAIN = ["genre\tsentence1\tsentence2\tscore", "news\tThe train is late.\tIt is late.\t4.5"]


def table(path: Path) -> list[list[str]]:
    return [list(row.values()) for _, row in read_rows(path)]


def written(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


def unquoted(content: str) -> list[list[str]]:
    """Return the rows below the header as the csv module reads them without quoting."""
    return list(csv.reader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


@pytest.mark.parametrize(
    "rows",
    [
        # A quote that is not closed, in the last column, so that three lines could be one row.
        ['news\tShe left.\t"Gone.\t1', "news\ta\tb\t2", 'news\tHe said.\tGone."\t3'],
        ['news\tShe left.\tb\t"1', "news\ta\tb\t2", 'news\tHe said.\tGone.\t3"'],
        ['news\t"Late," said he.\t"Late again," he said.\t1'],
        ['news\t"A quotation."\tA text.\t1', "news\tA text.\tA text, and more.\t2"],
        ['news\tIt is 5" long.\tIt is "long".\t1'],
        ['news\t"\t"\t1', 'news\t"""\ta\t2'],
        ['news\t"He said ""no"".\ta\t1'],
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_tsv_without_quoting_has_a_row_on_every_line(
    tmp_path: Path, rows: list[str], end: str
) -> None:
    content = "".join(f"{line}{end}" for line in [*PLAIN, *rows])
    expected = unquoted(content)
    assert len(expected) == len(rows) + 1
    assert table(written(tmp_path / "a.tsv", content)) == expected


FRAME = pd.DataFrame(
    {
        "sentence": [
            "plain",
            'He said "no".',
            '"no"',
            "a\tb",
            "two\nlines",
            "a, b",
            "two\r\nlines",
        ],
        "other": ["", "b", '"', "x\n\ty", "5'", " c ", "ß\u2028d"],
    }
)


@pytest.mark.parametrize("rows", [slice(0, 3), slice(0, 7), slice(3, 5), slice(5, 6)])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("header", ["sentence", "a name"])
def test_a_quoted_table_is_read_as_pandas_wrote_it(
    tmp_path: Path, rows: slice, quoting: int, suffix: str, header: str
) -> None:
    frame = FRAME.iloc[rows].rename(columns={"sentence": header}).assign(score=1.5)
    path = tmp_path / f"a{suffix}"
    frame.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t", quoting=quoting)
    values = [[str(value) for value in row] for row in frame.to_numpy().tolist()]
    assert table(path) == values
    assert next(location for location, _ in read_rows(path)) == f"{path}, line 2"


def test_columns_that_are_always_in_quotes_are_quoted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", 'id\ttext\n1\t"A cat."\n2\t"A dog."\n')
    assert table(path) == [["1", "A cat."], ["2", "A dog."]]


TEXT = st.text(st.sampled_from('ab ,.\'""ß\r\v\f\x85\u2028'), max_size=6)


def frames(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    return st.integers(1, 3).flatmap(
        lambda width: st.lists(
            st.lists(text, min_size=width, max_size=width), min_size=1, max_size=5
        )
    )


def table_or_refusal(path: Path, reasons: list[str]) -> list[list[str]] | None:
    """Return the rows, or None if they are refused for one of these reasons."""
    try:
        return table(path)
    except UserError as error:
        if any(reason in str(error) for reason in reasons):
            return None
        raise


@given(rows=frames(TEXT.filter(lambda text: '""' not in text)))
def test_any_tsv_without_quoting_is_read_line_by_line_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    assume(not any(row[-1].endswith("\r") for row in rows))
    header = ["a", "b", "c"][: len(rows[0])]
    # A column in quotes in each row is a quoted one.
    assume(all("" in column or not column[0].startswith('"') for column in zip(*rows, strict=True)))
    content = "".join("\t".join(row) + "\n" for row in [header, *rows])
    path = written(tmp_path_factory.mktemp("tsv") / "a.tsv", content)
    reasons = ["quotes around a field"]
    if len(header) == 1:
        reasons += ["empty line", "the quote may begin"]
    assert table_or_refusal(path, reasons) in (rows, None)


@given(rows=frames(st.one_of(TEXT, TEXT.map(lambda text: f"{text}\n{text}"))), end=st.booleans())
def test_any_table_that_pandas_writes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: bool
) -> None:
    # The csv module of Python before 3.13 does not quote a carriage return at the end of a row.
    rows = [[text.rstrip("\r") for text in row] for row in rows]
    frame = pd.DataFrame(rows, columns=["a", "b", "c"][: len(rows[0])])
    folder = tmp_path_factory.mktemp("quoted")
    for suffix, separator in ((".csv", ","), (".tsv", "\t")):
        path = folder / f"a{suffix}"
        lineterminator = "\r\n" if end else "\n"
        frame.to_csv(path, index=False, sep=separator, lineterminator=lineterminator)
        reasons = ["a quote joins", "the quote may begin", "empty line"]
        assert table_or_refusal(path, reasons) in (rows, None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        # One column: a text of two lines, or two lines with a quote.
        ("a.tsv", 'text\n"Hello,\nhe said."\n', "line 2: the quote may begin a text of several"),
        # As spreadsheets write it, or two quotations.
        ("a.tsv", 'a\tb\nx\t"Yes, it is."\ny\tz\n', "line 2: the quotes around a field may belong"),
        ("a.tsv", 'a\tb\n"x"\t1\n"y"\t2\nz\t3\n', "line 2: the quotes around a field may belong"),
        # Quoted after a short row, or not quoted.
        ("a.tsv", 'a\tb\n"y" z\t1\nx\n', "another number of tabs than the header"),
        ("a.tsv", "a\tb\nx\ty\tz\n", "line 2: more fields than columns in the header"),
        ("a.tsv", "a\tb\nx\ty\n\nx\n", "line 4: there is no field for column 'b'"),
        ("a.csv", 'a,b\n1,"x\n2,y\n3,z"\n', "line 2: a quote joins 3 lines, which have"),
        ("a.tsv", 'a\tb\tc\n1\t2\t"x\n\t\t\t\n2\ty\tz"\n', "line 2: a quote joins 3 lines"),
        ("a.csv", 'a,b\n1,"x\n2,y\n', "line 2: unexpected end of data"),
        ("a.csv", 'a,b\n1,x\n2, "y"\n', "line 3: a blank before a quote"),
        ("a.csv", 'a,b\n"x\n\ny",1\nz\n', "line 5: there is no field for column 'b'"),
        ("a.csv", "text\nx\n\ny\n", "line 3: an empty line may be an empty text"),
        ("a.csv", "a,b\rx,y\rz,w\r", "line 1: the lines end with carriage returns"),
        ("a.csv", "a,b,a\n", "line 1: the column 'a' occurs twice"),
        ("a.csv", "a,b, a\n1,2,3\n", "line 1: the column 'a' occurs twice"),
        ("a.csv", '\ufeffa,b,"a"\n1,2,3\n', "line 1: the column 'a' occurs twice"),
        ("a.tsv", "score\tb\tscore \n", "line 1: the column 'score' occurs twice"),
        ("a.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: the field 'a' occurs twice"),
        ("a.jsonl", '{"a": 1, " a": 2}\n', "line 1: the column 'a' occurs twice"),
        ("a.jsonl", '{"a": 1}\n\u2028\n', "line 2 is not JSON"),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(UserError) as error:
        table(written(tmp_path / name, content))
    assert f"{tmp_path / name}" in str(error.value)
    assert message in str(error.value)


def test_blanks_around_names_and_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "\ufeff\n,a, b ,\n0,x, y ,\n\n1,z,w,\n")
    assert [row for _, row in read_rows(path)] == [{"a": "x", "b": " y "}, {"a": "z", "b": "w"}]
    path = written(tmp_path / "a.jsonl", '{" a": "x"}\n\n{"a ": " y"}\n')
    assert list(read_rows(path)) == [
        (f"{path}, line 1", {"a": "x"}),
        (f"{path}, line 3", {"a": " y"}),
    ]


def test_names_that_differ_in_case_are_different_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "score,Score\n1,2\n")
    assert table(path) == [["1", "2"]]


def test_a_column_that_occurs_twice_in_parquet_is_refused(tmp_path: Path) -> None:
    columns = pyarrow.Table.from_arrays([pyarrow.array(["x"])] * 2, names=["a", "a"])
    parquet.write_table(columns, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: the column 'a' occurs twice"):
        list(read_rows(tmp_path / "a.parquet"))
    frame = pd.DataFrame({" a ": ["x", "y\nz"]})
    frame.to_parquet(tmp_path / "b.parquet")
    assert [row for _, row in read_rows(tmp_path / "b.parquet")] == [{"a": "x"}, {"a": "y\nz"}]


def test_separators_are_characters_in_every_format(tmp_path: Path) -> None:
    texts = ["a\rb", "a\u2028b\x85c", "a\v\fb"]
    for name, content in {
        "a.csv": "n,text\n" + "".join(f"{n},{text}\n" for n, text in enumerate(texts)),
        "a.tsv": "n\ttext\r\n" + "".join(f"{n}\t{text}\r\n" for n, text in enumerate(texts)),
        "a.jsonl": "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts),
    }.items():
        path = written(tmp_path / name, content)
        assert [row["text"] for _, row in read_rows(path)] == texts, name
