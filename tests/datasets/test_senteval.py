from __future__ import annotations

from pathlib import Path

import pytest

from demosearch.datasets import senteval
from demosearch.errors import UserError


def test_pairs_without_gold_are_left_out(tmp_path: Path) -> None:
    place = tmp_path / "STS" / "STS12-en-test"
    place.mkdir(parents=True)
    (place / "STS.input.x.txt").write_text("a\tb\nc\td\ne\tf\n")
    (place / "STS.gs.x.txt").write_text("1.5\n\n3\n")
    pairs = senteval.read_sts_subset(tmp_path, "STS12", "x")
    assert pairs.sentences1 == ("a", "e")
    assert pairs.scores == (1.5, 3.0)
    (place / "STS.gs.x.txt").write_text("1.5\n")
    with pytest.raises(UserError, match="1 scores for 3 pairs"):
        senteval.read_sts_subset(tmp_path, "STS12", "x")


def test_malformed_stsb_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "sts-dev.csv"
    path.write_text("main-news\tx\t2012\t1\tbad\ta\tb\n")
    with pytest.raises(UserError, match=r"line 1: score 'bad' is not a number"):
        senteval.read_stsb(path, "x")
    path.write_text("main-news\tx\n")
    with pytest.raises(UserError, match="line 1: 2 fields, at least 7"):
        senteval.read_stsb(path, "x")


@pytest.mark.data
def test_real_tree_has_the_published_sizes(data: Path) -> None:
    root = data / "senteval"
    sizes = {
        year: sum(
            len(senteval.read_sts_subset(root, year, subset))
            for subset in senteval.sts_subsets(root, year)
        )
        for year in ("STS12", "STS13")
    }
    assert sizes == {"STS12": 3108, "STS13": 1500}
    assert senteval.sts_subsets(root, "STS14") == []
    sick = senteval.read_sick(root)
    assert sick is not None
    assert len(sick) == 4927
    assert not any("\r" in text for text in sick.sentences())
