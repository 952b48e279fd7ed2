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
