from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from demosearch._common.lines import lines_of, split_lines
from demosearch.candidates.sources import read_sentences
from demosearch.candidates.wordnet import read_headwords
from demosearch.datasets.senteval import read_opposites
from demosearch.datasets.texts import read_texts
from demosearch.errors import UserError

# Characters at which `str.splitlines` or the universal newlines of `open` end a line.
SEPARATORS = "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
TEXTS = [f"A text {number} with {sep} inside it" for number, sep in enumerate(SEPARATORS)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_line_is_what_wc_counts(tmp_path: Path, end: str, last: bool) -> None:
    path = tmp_path / "lines.txt"
    content = end.join(["", *TEXTS, "end"]) + (end if last else "")
    path.write_bytes(content.encode())
    counted = int(subprocess.check_output(["wc", "-l", path]).split()[0])
    lines = ["", *TEXTS, "end"]
    assert len(lines) == counted + (not last)
    with path.open("rb") as file:
        assert list(lines_of(file, "lines.txt")) == lines
    assert split_lines(content) == lines


def test_a_file_and_standard_input_have_the_same_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ("\ufeff" + "\n".join(TEXTS) + "\r\nlast\r").encode()
    (tmp_path / "a.txt").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert list(read_texts("-")) == list(read_texts(str(tmp_path / "a.txt"))) == [*TEXTS, "last\r"]


def test_sentences_words_and_senteval_have_the_same_lines(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_bytes("\n".join(TEXTS).encode())
    assert read_sentences(str(tmp_path / "s.txt"), None) == TEXTS
    (tmp_path / "w.tsv").write_bytes("ice\u2028cream\tnoun\r\nsnow\tnoun\n".encode())
    assert [head.word for head in read_headwords(tmp_path / "w.tsv")] == ["ice\u2028cream", "snow"]
    (tmp_path / "MR").mkdir()
    for name in ("neg", "pos"):
        (tmp_path / "MR" / name).write_bytes("\n".join(TEXTS).encode())
    task = read_opposites(tmp_path, "MR", ["neg", "pos"])
    assert task is not None
    assert len(task.train) == 2 * len(TEXTS)


def test_a_line_that_is_not_text_is_named() -> None:
    lines = lines_of(io.BytesIO(b"\xef\xbb\xbfA cat\n\xc3\xa9\xff\n"), "a.txt")
    assert next(lines) == "A cat"
    with pytest.raises(UserError, match=r"a\.txt is not UTF-8 text \(byte 11, line 2\)"):
        next(lines)
