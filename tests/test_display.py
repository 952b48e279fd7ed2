from __future__ import annotations

import pytest

from demosearch import display
from demosearch.demonstration import Ranked
from tests.examples import demonstrations_file


def test_templates_are_shown_where_there_are_several(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    file = demonstrations_file()
    display.show_search(file)
    assert "template" not in capsys.readouterr().out
    plain = Ranked(
        id="none@knowledge", sentence="", word="", source="none", template="knowledge", spearman=70
    )
    display.show_search(file.model_copy(update={"ranking": [*file.ranking, plain]}))
    lines = capsys.readouterr().out.splitlines()
    (own,) = (line for line in lines if "Equestrian" in line)
    (other,) = (line for line in lines if "knowledge" in line)
    assert own.split()[-3:] == ["prompteol", "70.50", "+5.25"]
    assert "(no demonstration)" in other
    assert other.split()[-3:] == ["knowledge", "70.00", "+4.75"]


def test_a_gain_that_may_be_none_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    file = demonstrations_file()
    display.show_search(file)
    assert "no better than" not in capsys.readouterr().out
    estimate = file.estimate.model_copy(update={"ci95": (-1.0, 7.0)})
    display.show_search(file.model_copy(update={"estimate": estimate}))
    assert "it may be no better than no demonstration" in capsys.readouterr().out
