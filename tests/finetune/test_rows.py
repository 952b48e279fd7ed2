from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from demosearch.errors import UserError
from demosearch.finetune import read_training_rows
from demosearch.finetune.rows import rendered_rows
from demosearch.prompt import Prompt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sent0,sent1,hard_neg\na,b,c\n", [("a", "b", "c")]),
        ("anchor,positive,negative,x\na,b,c,d\n", [("a", "b", "c")]),
        ("anchor,positive\na,b\n", [("a", "b")]),
        ("text\na\nb\n", [("a",), ("b",)]),
    ],
)
def test_known_columns_are_found(
    tmp_path: Path, text: str, expected: list[tuple[str, ...]]
) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert read_training_rows(tmp_path / "t.csv") == expected


def test_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("q,d\na,b\n")
    assert read_training_rows(tmp_path / "t.csv", ["d", "q"]) == [("b", "a")]
    with pytest.raises(
        UserError, match=r"t\.csv, line 2: the columns must include 'x' but got q, d"
    ):
        read_training_rows(tmp_path / "t.csv", ["x"])
    with pytest.raises(UserError, match="--columns must be one to three names but got q,q,q,q"):
        read_training_rows(tmp_path / "t.csv", ["q"] * 4)


@pytest.mark.parametrize("grade", ["score", "label", "gold_label"])
def test_pairs_with_scores_are_refused(tmp_path: Path, grade: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"sentence1,sentence2,{grade}\nA cat sleeps,Stocks fell,0\n")
    with pytest.raises(
        UserError, match=f"line 2: the column '{grade}' suggests that not all pairs have"
    ):
        read_training_rows(path)
    assert read_training_rows(path, ["sentence1", "sentence2"]) == [("A cat sleeps", "Stocks fell")]


def test_wrong_rows_are_refused_with_their_location(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(
        UserError, match=r"t\.csv, line 2: the columns must be sent0,sent1,hard_neg"
    ):
        read_training_rows(path)
    path.write_text("anchor,positive,negative\na,b,c\na,,c\n")
    with pytest.raises(UserError, match="line 3: 'positive' is empty"):
        read_training_rows(path)
    path.write_text("anchor,positive\n")
    with pytest.raises(UserError, match="has no rows"):
        read_training_rows(path)
    with pytest.raises(UserError, match="no training file"):
        read_training_rows(tmp_path / "none.csv")


def test_texts_are_truncated_before_they_are_rendered(tiny: Callable[[str], Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    text = "one two three four five six"
    prompt = Prompt()
    ((first, *_),) = rendered_rows([(text, "short", "short")], prompt, tokenizer, 5)
    kept = tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids[:5])
    assert first == prompt.render(kept)
    assert len(kept) < len(text)


@pytest.mark.data
def test_column_names_of_the_paper_are_read(data: Path) -> None:
    triplets = read_training_rows(data / "nli" / "nli_triplets.csv")
    assert len(triplets) == 13300
    assert triplets[0][1] == "Two woman are holding packages."
