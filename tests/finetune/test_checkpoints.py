from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import TrainerState

from demosearch.errors import UserError
from demosearch.finetune import finetune, job
from demosearch.finetune.callbacks import ShowProgress
from demosearch.models.known import Precision, resolve
from demosearch.models.source import read_config
from tests.fakes import fake_pairs
from tests.finetune.small import SETTINGS, TRIPLETS


def test_checkpoints_of_another_program_are_kept(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "precious.pt").write_text("")
    with pytest.raises(
        UserError, match="contains a folder 'checkpoints' that this command did not write"
    ):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    assert (tmp_path / "checkpoints" / "precious.pt").exists()


class KilledError(RuntimeError):
    """Stands for a kill."""


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_killed_training_resumes_on_the_same_curve(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    precision: str,
) -> None:
    caplog.set_level("INFO")
    folder, dev = str(tiny("llama")), fake_pairs(20)
    settings = SETTINGS.model_copy(
        update={"precision": Precision(precision), "epochs": 2, "lora_dropout": 0.1}
    )
    whole = finetune(folder, TRIPLETS, tmp_path / "whole", dev=dev, settings=settings, device="cpu")
    assert whole.steps == 6

    def kill(
        _self: object, _arguments: object, state: TrainerState, *_: object, **__: object
    ) -> None:
        if state.global_step == 5:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(ShowProgress, "on_step_end", kill)
        with pytest.raises(KilledError):
            finetune(folder, TRIPLETS, tmp_path / "a", dev=dev, settings=settings, device="cpu")
    assert not (tmp_path / "a" / "adapter_config.json").exists()
    # An incomplete checkpoint is ignored.
    broken = tmp_path / "a" / "checkpoints" / "checkpoint-5"
    broken.mkdir()
    (broken / "trainer_state.json").write_text("{")
    again = finetune(folder, TRIPLETS, tmp_path / "a", dev=dev, settings=settings, device="cpu")
    assert "resuming from" in caplog.text
    assert again.steps == 6
    assert (again.dev_before, again.dev_after) == (whole.dev_before, whole.dev_after)
    assert again.best_step == whole.best_step
    ours, theirs = (
        {point.step: (point.loss, point.dev) for point in one.curve} for one in (again, whole)
    )
    for step, values in theirs.items():
        assert ours[step] == pytest.approx(values, abs=1e-4, nan_ok=True), step
    with pytest.raises(UserError, match="already contains an adapter"):
        finetune(folder, TRIPLETS, tmp_path / "a", dev=dev, settings=settings, device="cpu")


def test_kill_while_the_adapter_is_written_loses_nothing(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(job, "write_curve", kill)
        with pytest.raises(KilledError):
            finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    assert (tmp_path / "adapter_config.json").exists()
    again = finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    assert again.steps == 3
    assert (tmp_path / "training.json").exists()


def test_unfinished_training_with_other_settings_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(ShowProgress, "on_step_end", kill)
        with pytest.raises(KilledError):
            finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    other = SETTINGS.model_copy(update={"learning_rate": 0.1})
    with pytest.raises(
        UserError, match="contains an unfinished training run with different settings"
    ):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=other, device="cpu")


def test_training_of_the_previous_version_is_resumed(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """The folder's identity is that of commit 686800e, written out by hand."""
    settings = (
        '{"description":"","precision":"fp32","batch_size":8,"mini_batch_size":null,'
        '"gradient_checkpointing":false,"learning_rate":0.01,"epochs":1,"max_steps":null,'
        '"warmup_steps":1,"temperature":0.05,"max_text_tokens":32,"lora_r":4,"lora_alpha":16,'
        '"lora_dropout":0.0,"eval_steps":2,"seed":0}'
    )
    folder, prompt = str(tiny("llama")), 'This sentence : "" means in one word:"'
    rows = hashlib.sha256("".join("\x1f".join(row) + "\n" for row in TRIPLETS).encode())
    revision = read_config(resolve(folder))[1]
    parts = [folder, revision, "fp32", prompt, "None", settings, "", rows.hexdigest()]
    identity = hashlib.sha256("".join(f"{part}\n" for part in parts).encode()).hexdigest()
    (tmp_path / "checkpoints").mkdir()
    started = tmp_path / "checkpoints" / "started.json"
    started.write_text(json.dumps({"identity": identity, "dev_before": None}))
    training = finetune(folder, TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    assert training.steps == 3
