from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pandas as pd
import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from demosearch.candidates.settings import LabelerKind
from demosearch.cli.app import main
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.encoder import replicas
from demosearch.errors import UserError
from demosearch.models import choice
from demosearch.models.known import Precision
from demosearch.models.options import LoadOptions
from demosearch.pipeline import Pipeline, load_pipeline
from demosearch.run import run
from tests.fakes import write_fake_pairs

SMALL = ["candidates.n_sentences=0", "candidates.n_dictionary=6", "candidates.labeler=none"]


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[str, str]:
    dev, test = (
        write_fake_pairs(tmp_path / f"{name}.csv", 24, seed)
        for seed, name in enumerate(("dev", "test"))
    )
    return dev, test


@pytest.fixture
def settings(pairs: tuple[str, str]) -> Pipeline:
    return load_pipeline("quickstart", SMALL, dev=pairs[0], test=pairs[1])


def test_a_run_closes_its_replicas(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"devices": "cpu,cpu"})
    run(str(tiny("opt")), settings, tmp_path / "run")
    children = psutil.Process().children()
    assert not [one for one in children if "spawn_main" in " ".join(one.cmdline())]


def test_allow_pickle_applies_to_the_labeler_too(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    model = tmp_path / "pickled"
    shutil.copytree(tiny("opt"), model)
    weights = model / "model.safetensors"
    torch.save(load_file(weights), model / "pytorch_model.bin")
    weights.unlink()
    labels = {"labeler": LabelerKind.LOCAL, "n_sentences": 2}
    settings = settings.model_copy(
        update={"candidates": settings.candidates.model_copy(update=labels)}
    )
    with pytest.raises(UserError, match="use --allow-pickle"):
        run(str(model), settings, tmp_path / "refused")
    allowed = settings.model_copy(update={"allow_pickle": True})
    run(str(model), allowed, tmp_path / "run")
    assert f"local:{model}" in (tmp_path / "run" / "candidates.jsonl").read_text()


def test_a_run_writes_consistent_files(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = run(str(tiny("opt")), settings, out)
    assert {path.name for path in out.iterdir()} == {
        "pipeline.yaml",
        "candidates.jsonl",
        "study.db",
        "trials.csv",
        "history.csv",
        "demonstrations.json",
        "evaluation.json",
        "report.html",
        "report",
    }
    file = DemonstrationsFile.read(out / "demonstrations.json")
    assert file == result.file
    assert file.search.candidates == 6
    trials = pd.read_csv(out / "trials.csv")
    assert len(trials) == 7
    best = trials[trials.candidate == file.demonstrations[0].id].iloc[0]
    assert best.spearman == pytest.approx(file.dev.spearman)
    test = json.loads((out / "evaluation.json").read_text())["test"]
    assert test == result.test["test"]
    assert test["pairs"] == 24
    resolved = yaml.safe_load((out / "pipeline.yaml").read_text())
    assert resolved["candidates"]["sentences"] == "starter"


def test_running_a_finished_run_again_changes_nothing(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(str(tiny("opt")), settings, out)
    kept = {path.name: path.read_bytes() for path in out.glob("*.*")}
    run(str(tiny("opt")), settings, out)
    again = {path.name: path.read_bytes() for path in out.glob("*.*")}
    del kept["study.db"], again["study.db"]
    assert again == kept


def test_a_folder_with_another_run_is_not_changed(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(str(tiny("opt")), settings, out)
    kept = (out / "demonstrations.json").read_bytes()
    with pytest.raises(UserError, match=r"a different 'seed' \(0, now 5\); choose another"):
        run(str(tiny("opt")), settings.model_copy(update={"seed": 5}), out)
    with pytest.raises(UserError, match=r"a different 'model'"):
        run(str(tiny("llama")), settings, out)
    assert (out / "demonstrations.json").read_bytes() == kept


def test_a_run_resumes_with_other_devices_and_another_data_folder(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = run(str(tiny("opt")), settings, out)
    elsewhere = {"devices": "cpu,cpu", "data": str(tmp_path)}
    assert run(str(tiny("opt")), settings.model_copy(update=elsewhere), out).file == first.file


@pytest.mark.parametrize("variable", ["", "hub"])
def test_sentences_to_label_come_from_the_source_of_the_dev_pairs(
    variable: str,
    tiny: Callable[[str], Path],
    pairs: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hub:
        """The hub's copy of STS-B: 24 pairs in every part."""

        asked: ClassVar[list[str]] = []

        @classmethod
        def load_dataset(cls, name: str, split: str, revision: str | None) -> pd.DataFrame:
            cls.asked.append(split)
            return pd.read_csv(pairs[0]).assign(score=lambda table: table["score"] / 5)

    monkeypatch.setenv("DEMOSEARCH_DATA", variable)
    monkeypatch.setitem(sys.modules, "datasets", Hub)
    settings = load_pipeline("paper", ["candidates.n_sentences=2", "candidates.n_dictionary=4"])
    run(str(tiny("opt")), settings, tmp_path / "run")
    kept = yaml.safe_load((tmp_path / "run" / "pipeline.yaml").read_text())
    assert kept["candidates"]["sentences"] == "stsb-train"
    assert Hub.asked[:3] == ["validation", "test", "train"]


def test_a_run_resumes_in_its_precision(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(choice, "fastest_on_cpu", lambda width: Precision.FP32)
    first = run(str(tiny("opt")), settings, out)
    # As on another machine.
    monkeypatch.setattr(choice, "fastest_on_cpu", lambda width: Precision.BF16)
    assert run(str(tiny("opt")), settings, out).file == first.file
    other = settings.model_copy(update={"precision": Precision.BF16})
    with pytest.raises(UserError, match=r"'precision' .*fp32.* now .*bf16"):
        run(str(tiny("opt")), other, out)

    # A process of torchrun that holds a part of the model uses the same precision.
    class LoadedError(Exception):
        pass

    def load(_: str, options: LoadOptions) -> None:
        raise LoadedError(options.precision)

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(replicas, "open_encoder", load)
    with pytest.raises(LoadedError, match="fp32"):
        run(str(tiny("opt")), settings, out)


@pytest.mark.parametrize("storage", [None, "sqlite:///x.db"])
def test_a_file_at_the_path_of_the_folder_is_an_error(
    storage: str | None, tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="run"):
        run(str(tiny("opt")), settings, tmp_path / "run", storage=storage)


def test_the_demonstrations_are_written_before_the_test_pairs_are_scored(
    tiny: Callable[[str], Path],
    settings: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "run"

    def look(*_: object, **__: object) -> None:
        assert (out / "demonstrations.json").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("demosearch.selection.gain.gain_on", look)
    with pytest.raises(KeyboardInterrupt):
        run(str(tiny("opt")), settings, out)
    assert not (out / "evaluation.json").exists()


def test_a_run_resumes_after_a_package_was_installed(
    tiny: Callable[[str], Path],
    pairs: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    auto = [*SMALL[:-1], "candidates.labeler=auto", "candidates.dictionary=auto"]
    settings = load_pipeline("quickstart", auto, dev=pairs[0])
    model, out = str(tiny("opt")), tmp_path / "run"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr("demosearch.candidates.wordnet.wordnet_is_installed", lambda: False)
    first = run(model, settings, out).file
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr("demosearch.candidates.wordnet.wordnet_is_installed", lambda: True)
    assert run(model, settings, out).file == first
    with pytest.raises(
        UserError, match=r"'candidates\.dictionary' \(\"starter\", now \"wordnet\"\)"
    ):
        run(
            model,
            load_pipeline(
                "quickstart", [*auto[:-1], "candidates.dictionary=wordnet"], dev=pairs[0]
            ),
            out,
        )


def test_a_run_without_candidates_does_not_restrict_the_next_one(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    labeled = ["candidates.n_sentences=1", "candidates.labeler=local"]
    labeled += [f"candidates.sentences={tmp_path / 'none.txt'}"]
    with pytest.raises(UserError, match="No such file"):
        run(str(tiny("opt")), load_pipeline("quickstart", labeled, dev=settings.dev), out)
    assert (out / "pipeline.yaml").exists()
    assert run(str(tiny("opt")), settings, out).file.search.candidates == 6


def test_an_address_with_a_password_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("https://me:secret@host/v1", "https://host/v1?key=secret"):
        words = ["run", "--model", "smollm2-135m", "--set", f"candidates.base_url={url}"]
        assert main([*words, "--dev", "starter", "--out", "run"]) == 2
        printed = capsys.readouterr().err
        assert "--set candidates.base_url" in printed
        assert "OPENAI_API_KEY" in printed
        assert "secret" not in printed
    assert not list(tmp_path.iterdir())


def test_test_sentences_never_become_demonstrations(
    tiny: Callable[[str], Path], pairs: tuple[str, str], tmp_path: Path
) -> None:
    leaked = pd.read_csv(pairs[1]).sentence1[0]
    lines = [{"sentence": f"{leaked}.", "word": "Leak"}, {"sentence": "Fine.", "word": "Fine"}]
    file = tmp_path / "c.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = load_pipeline("quickstart", dev=pairs[0], test=pairs[1], candidates_file=str(file))
    result = run(str(tiny("opt")), settings, tmp_path / "run")
    assert [one.word for one in result.file.ranking if one.word] == ["Fine"]


def test_several_dev_sets_are_separated_by_commas(
    tiny: Callable[[str], Path], pairs: tuple[str, str], tmp_path: Path
) -> None:
    settings = load_pipeline(
        "quickstart", [*SMALL, "metric=pearson"], dev=",".join(pairs), test=pairs[1]
    )
    result = run(str(tiny("opt")), settings, tmp_path / "run")
    assert result.file.dev.pairs == 48
    assert result.file.dev.name == "dev+test"
    assert result.test is not None
    test = result.test["test"]
    assert test["gain"] == pytest.approx(test["score"] - test["baseline_score"], abs=1e-5)
    assert test["score"] != test["spearman"]


def test_a_run_of_an_earlier_version_resumes(
    tiny: Callable[[str], Path], settings: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = run(str(tiny("opt")), settings, out)
    kept = yaml.safe_load((out / "pipeline.yaml").read_text())
    # Settings that did not exist.
    del kept["metric"], kept["candidates"]["download"]
    # Settings that no longer exist, and the last layer as it was written.
    kept |= {"rounds": 1, "round_size": 100, "pareto": False, "layer": None}
    kept["precision"] = None
    (out / "pipeline.yaml").write_text(yaml.safe_dump(kept))
    test = (out / "evaluation.json").read_bytes()
    assert run(str(tiny("opt")), settings, out).file == first.file
    # The test pairs are not scored again.
    assert (out / "evaluation.json").read_bytes() == test
    other = settings.model_copy(
        update={"candidates": settings.candidates.model_copy(update={"n_dictionary": 7})}
    )
    with pytest.raises(UserError, match=r"'candidates\.n_dictionary' \(6, now 7\)"):
        run(str(tiny("opt")), other, out)


def test_workers_may_share_a_folder(
    tiny: Callable[[str], Path], pairs: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = [
        part for change in ["candidates.n_sentences=4", *SMALL[1:2]] for part in ("--set", change)
    ]
    command = [
        sys.executable, "-m", "demosearch", "run", "--model", str(tiny("opt")), "--dev", pairs[0],
        "--test", pairs[1], "--pipeline", "quickstart", "--storage", f"sqlite:///{tmp_path / 'shared.db'}",
        "--study", "shared", "--out", str(out), "--json", *options,
    ]  # fmt: skip
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], outputs
    # One worker built the candidates, and the others read them.
    assert sum("candidates: 4 sentences" in errors for _, errors in outputs) == 1
    # One worker scored the test pairs.
    assert sum("scoring the 24 test pairs" in errors for _, errors in outputs) == 1
    results = [json.loads(output) for output, _ in outputs]
    assert results[0]["test"] == results[1]["test"] == results[2]["test"]
    written = DemonstrationsFile.read(out / "demonstrations.json")
    for result in results:
        assert result["demonstrations"]["ranking"] == written.model_dump(mode="json")["ranking"]
