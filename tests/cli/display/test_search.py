from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from demosearch.cli.display.search import show_runs, show_search
from demosearch.demonstrations_file import Ranked, StepRecord
from demosearch.models.records import ModelRecord
from demosearch.run import RunResult
from demosearch.runs import Runs
from tests.examples import demonstrations_file


def test_the_template_is_a_column_if_there_are_several(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    file = demonstrations_file()
    show_search(file)
    assert "template" not in capsys.readouterr().out
    plain = Ranked(
        id="none@knowledge", sentence="", word="", source="none", template="knowledge", spearman=70
    )
    show_search(file.model_copy(update={"ranking": [*file.ranking, plain]}))
    lines = capsys.readouterr().out.splitlines()
    (own,) = (line for line in lines if "Equestrian" in line)
    (other,) = (line for line in lines if "knowledge" in line)
    assert own.split()[-3:] == ["prompteol", "70.50", "+5.25"]
    assert "(no demonstration)" in other
    assert other.split()[-3:] == ["knowledge", "70.00", "+4.75"]


def test_a_gain_that_is_not_significant_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    file = demonstrations_file()
    show_search(file)
    assert "no better than" not in capsys.readouterr().out
    estimate = file.estimate.model_copy(update={"ci95": (-1.0, 7.0)})
    show_search(file.model_copy(update={"estimate": estimate}))
    assert "not significantly better than the baseline" in capsys.readouterr().out


def test_the_baseline_is_not_listed_twice_unless_it_is_the_best(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = demonstrations_file()
    baseline = Ranked(
        id="baseline", sentence="", word="", source="baseline", layer=3, spearman=65.25
    )
    show_search(file.model_copy(update={"ranking": [*file.ranking, baseline]}))
    assert capsys.readouterr().out.count("(no demonstration)") == 1
    show_search(file.model_copy(update={"ranking": [baseline, *file.ranking]}))
    assert capsys.readouterr().out.count("(no demonstration)") == 2


def test_the_gain_is_shown_taken_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shared = {"prompts": 1, "template": "prompteol"}
    steps = [
        StepRecord(part="layer", layer=2, demonstrations=0, spearman=66.25, gain=1.0,
                   gain_ci95=(0.5, 1.5), **shared),
        StepRecord(part="demonstrations", layer=1, demonstrations=1, spearman=70.5, gain=4.25,
                   gain_ci95=(1.5, 7.5), **shared),
        StepRecord(part="postprocess", layer=3, demonstrations=1, spearman=70.4, gain=-0.1,
                   gain_ci95=(-1.5, 1.0), taken=False, postprocess="centered", **shared),
    ]  # fmt: skip
    show_search(demonstrations_file().model_copy(update={"steps": steps}))
    lines = capsys.readouterr().out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("gain +5.25"))
    assert lines[start + 1 : start + 4] == [
        "  +1.00 [+0.50, +1.50] layer 2, without demonstrations: 66.25",
        "  +4.25 [+1.50, +7.50] 1 demonstration, layer 1: 70.50",
        "  -0.10 [-1.50, +1.00] centered, 1 demonstration, layer 3: 70.40, left out",
    ]


@pytest.mark.parametrize("tested", [True, False])
def test_the_table_of_several_models_fits_a_narrow_screen(
    tested: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    models = {
        "../models/ours": ModelRecord(
            name="../models/ours", source="/home/a/models/ours", revision="", precision="fp32"
        ),
        "facebook/opt-125m": ModelRecord(
            name="facebook/opt-125m", source="facebook/opt-125m", revision="", precision="fp32"
        ),
    }
    row = {
        "model": "../models/ours", "parameters": 1, "word": "Equestrian",
        "dev_baseline": 49.26, "dev": 65.96, "dev_low": 14.25, "dev_high": 19.19,
    }  # fmt: skip
    other = row | {"model": "facebook/opt-125m", "parameters": 2, "word": "A | B"}
    table = pd.DataFrame([other, row])
    if tested:
        table = table.assign(test_baseline=36.67, test=60.45)
    results = {
        name: RunResult(Path(), demonstrations_file(model), None, None)
        for name, model in models.items()
    }
    show_runs(Runs(results, {}, table, []))
    shown = capsys.readouterr().out
    (line,) = (line.split() for line in shown.splitlines() if "ours" in line)
    test = ["36.67", "60.45"] if tested else []
    assert line == [
        "ours", "49.26", "65.96", "+16.70", "[+14.25,", "+19.19]", *test, "Equestrian",
    ]  # fmt: skip
    # The smaller model comes first.
    assert shown.index("ours") < shown.index("facebook")
