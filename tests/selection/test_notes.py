from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.models import choice
from demosearch.models.options import LoadOptions
from demosearch.models.precision import Precision
from demosearch.selection.notes import agreed_precision, study_precision
from demosearch.selection.search import search

DEV = Pairs(
    "own",
    ["A cat sleeps.", "A dog runs.", "It rains.", "A man sings."],
    ["A cat rests.", "A train leaves.", "It is raining.", "She reads."],
    [5.0, 0.0, 4.5, 0.5],
)
CANDIDATES = [Demonstration(sentence="A car drives.", word="Driving")]


def not_asked() -> Precision:
    pytest.fail("a worker proposed a precision although the study has one")


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_all_workers_use_the_answer_of_the_first(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = {"sqlite": f"sqlite:///{tmp_path / 'shared.db'}", "journal": str(tmp_path / "s.log")}
    storage = files[kind]
    first = agreed_precision(storage, "one", tmp_path, lambda: Precision.FP32)
    assert first is Precision.FP32
    assert agreed_precision(storage, "one", tmp_path, not_asked) is Precision.FP32
    assert "precision fp32, as in the study" in caplog.messages
    # Another study in the same storage decides for itself.
    assert agreed_precision(storage, "two", tmp_path, lambda: Precision.BF16) is Precision.BF16


def test_workers_that_propose_at_the_same_time_agree(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"

    def late() -> Precision:
        # While this worker multiplies, another one answers.
        agreed_precision(storage, "study", tmp_path, lambda: Precision.FP32)
        return Precision.BF16

    assert agreed_precision(storage, "study", tmp_path, late) is Precision.FP32


def test_a_study_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    study = optuna.create_study(storage=storage, study_name="theirs")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert agreed_precision(storage, "theirs", tmp_path, lambda: Precision.FP32) is Precision.FP32
    assert study.user_attrs == {}


def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot open the study storage .*; it must|^cannot open"):
        agreed_precision(str(tmp_path / "x.txt"), "study", tmp_path, not_asked)


def test_a_folder_without_a_study_gets_none(tmp_path: Path) -> None:
    assert agreed_precision(None, "study", tmp_path, lambda: Precision.BF16) is Precision.BF16
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_search_resumes_in_its_precision(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    model = str(tiny("opt"))
    storage = f"sqlite:///{tmp_path / 'shared.db'}" if shared else None

    def run(folder: str) -> str:
        result = search(model, CANDIDATES, DEV, folder=tmp_path / folder, storage=storage)
        return result.file.model.precision

    monkeypatch.setattr(choice, "fastest_on_cpu", lambda width: Precision.FP32)
    assert run("a") == "fp32"
    # The timing has come out differently.
    monkeypatch.setattr(choice, "fastest_on_cpu", lambda width: Precision.BF16)
    assert run("a") == "fp32"
    if shared:
        assert run("b") == "fp32"
        # A named precision counts, and a study has only one.
        options = LoadOptions(precision=Precision.BF16)
        named = study_precision(model, options, storage, "demosearch", tmp_path)
        assert named is Precision.BF16
    else:
        assert run("b") == "bf16"


def test_a_gpu_is_not_asked_for_a_study(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    agreed_precision(storage, "study", tmp_path, lambda: Precision.FP32)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    options = LoadOptions(device="cuda:0")
    precision = study_precision(str(tiny("opt")), options, storage, "study", tmp_path)
    assert precision is Precision.BF16
