from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoModel

from demosearch.cli.app import main
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.pipeline import Pipeline, load_pipeline
from demosearch.runs import run_models
from tests.fakes import fake_pairs

SMALL = ["candidates.n_sentences=0", "candidates.n_dictionary=4", "candidates.labeler=none"]


@pytest.fixture
def dev(tmp_path: Path) -> str:
    pairs = fake_pairs(24)
    columns = {
        "sentence1": pairs.sentences1,
        "sentence2": pairs.sentences2,
        "score": pairs.scores,
    }
    pd.DataFrame(columns).to_csv(tmp_path / "dev.csv", index=False)
    return str(tmp_path / "dev.csv")


@pytest.fixture
def settings(dev: str) -> Pipeline:
    return load_pipeline("quickstart", SMALL, dev=dev, test=dev)


def test_each_model_has_a_folder_and_a_row_of_the_table(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    models = [str(tiny("opt")), str(tiny("llama"))]
    runs = run_models(models, settings, tmp_path / "runs")
    assert list(runs.results) == models
    assert not runs.failures
    table = pd.read_csv(tmp_path / "runs" / "models.csv")
    assert table["model"].tolist() == models
    for model, (_, row) in zip(models, table.iterrows(), strict=True):
        result = runs.results[model]
        name = Path(model).name
        assert result.folder == tmp_path / "runs" / name
        copied = DemonstrationsFile.read(tmp_path / "runs" / "demonstrations" / f"{name}.json")
        assert copied == result.file
        assert row["dev"] == pytest.approx(result.file.dev.spearman)
        assert row["test"] == pytest.approx(result.test["test"]["spearman"])
        assert row["word"] == result.file.demonstrations[0].word
        assert row["parameters"] == sum(
            each.numel() for each in AutoModel.from_pretrained(model).parameters()
        )


def test_a_run_that_fails_does_not_stop_the_others(
    tiny: Callable[[str], Path], dev: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    models = [str(tmp_path / "broken"), str(tiny("opt"))]
    options = [part for change in SMALL for part in ("--set", change)]
    out = str(tmp_path / "runs")
    status = main(
        ["run", "--model", *models, "--pipeline", "quickstart", "--dev", dev, "--out", out,
         "--quiet", "--json", *options]
    )  # fmt: skip
    assert status == 2
    printed = capsys.readouterr()
    value = json.loads(printed.out)
    assert list(value["models"]) == models[1:]
    assert list(value["failures"]) == models[:1]
    assert "1 of 2 runs failed" in printed.err
    assert "Traceback" not in printed.err
    table = pd.read_csv(tmp_path / "runs" / "models.csv")
    assert table["model"].tolist() == models[1:]


def test_several_models_are_printed_as_json(
    tiny: Callable[[str], Path], dev: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [str(tiny("opt")), str(tiny("llama"))]
    options = [part for change in SMALL for part in ("--set", change)]
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    status = main(
        ["run", "--model", *models, "--pipeline", "quickstart", "--dev", dev, "--storage", storage,
         "--out", str(tmp_path / "runs"), "--quiet", "--json", *options]
    )  # fmt: skip
    assert status == 0
    value = json.loads(capsys.readouterr().out)
    assert list(value["models"]) == models
    assert all(Path(path).exists() for path in value["files"])
    # All models share a storage, with one study per model.
    assert not list((tmp_path / "runs").rglob("study.db"))


def test_two_models_with_the_same_folder_name_are_an_error(
    tmp_path: Path, settings: Pipeline
) -> None:
    with pytest.raises(UserError, match="--model smollm2-135m is given twice"):
        run_models(["smollm2-135m", "smollm2-135m"], settings, tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder / "ours").mkdir(parents=True)
        (tmp_path / folder / "ours" / "config.json").write_text("{}")
    same_name = [str(tmp_path / "a" / "ours"), str(tmp_path / "b" / "ours")]
    with pytest.raises(UserError, match=r"a/ours and .*b/ours have the same folder name ours"):
        run_models(same_name, settings, tmp_path)
    with pytest.raises(UserError, match="nowhere"):
        run_models(["smollm2-135m", "nowhere"], settings, tmp_path)
