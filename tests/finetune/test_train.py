from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import TrainerState

from demosearch import Embedder
from demosearch.errors import UserError
from demosearch.finetune import finetune, train
from demosearch.finetune.callback import ShowProgress
from demosearch.models.known import Precision
from demosearch.prompt import Prompt
from demosearch.templates import TEMPLATES
from tests.examples import JOCKEY
from tests.fakes import fake_pairs
from tests.finetune.small import SETTINGS, TRIPLETS


def test_a_training_moves_only_the_adapter_and_repeats(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tiny("llama")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    trainings = [
        finetune(str(folder), TRIPLETS, tmp_path / name, settings=SETTINGS, device="cpu")
        for name in ("a", "b")
    ]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert trainings[0].steps == 3
    assert len(trainings[0].curve) == 3
    assert trainings[0].curve == trainings[1].curve
    weights = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("a", "b")]
    assert all("lora_" in name for name in weights[0])
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])
    moved = [value for name, value in weights[0].items() if "lora_B" in name]
    # lora_B starts at zero.
    assert any(np.abs(value).max() > 1e-4 for value in moved)
    assert json.loads((tmp_path / "a" / "training.json").read_text())["rows"] == 24
    assert not (tmp_path / "a" / "checkpoints").exists()
    curve = (tmp_path / "a" / "curve.csv").read_text().splitlines()
    assert curve[0] == "step,loss,dev"
    assert curve[1] == f"1,{trainings[0].curve[0].loss},"
    assert (tmp_path / "a" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_adapter_is_used_and_scores_as_the_trainer_said(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, prompt = str(tiny("llama")), Prompt(demonstrations=(JOCKEY,))
    dev = fake_pairs(30)
    training = finetune(
        folder, TRIPLETS, tmp_path / "a", prompt=prompt, dev=dev, settings=SETTINGS, device="cpu"
    )
    from demosearch.evaluation import gain_on

    options = {"precision": "fp32", "device": "cpu"}
    plain = Embedder.without_demonstrations(folder, **options)
    tuned = Embedder.without_demonstrations(folder, **options, adapter=tmp_path / "a")
    before = gain_on(dev, plain.encoder, [prompt], prompt).spearman
    after = gain_on(dev, tuned.encoder, [prompt], prompt).spearman
    # Float rounding may swap near ties among 30 pairs.
    assert training.dev_before == pytest.approx(before, abs=0.3)
    assert training.dev_after == pytest.approx(after, abs=0.3)
    assert training.dev_before != training.dev_after
    assert training.prompt == prompt.render("")
    assert not np.allclose(plain.encode("A cat."), tuned.encode("A cat."), atol=1e-3)


def test_bad_input_is_named(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="24 training rows are fewer than a batch of 256"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "x")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="holds an adapter already"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="batch_size=8 cannot be shared by 3 processes"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "x", settings=SETTINGS)


def test_rows_that_all_share_a_text_are_no_batch(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = [("The same premise", *row[1:]) for row in TRIPLETS]
    with pytest.raises(UserError, match="no 8 training rows of which no two share a text; lower"):
        finetune(str(tiny("llama")), rows, tmp_path / "a", settings=SETTINGS, device="cpu")


def test_a_folder_of_checkpoints_of_somebody_else_is_left_alone(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "precious.pt").write_text("")
    with pytest.raises(UserError, match="holds a folder checkpoints that is not of this command"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    assert (tmp_path / "checkpoints" / "precious.pt").exists()


def test_weights_that_lack_a_part_are_not_trained(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"has no weights for layers.1.mlp.down_proj.weight \(1 missing in total\)"
    ):
        finetune(str(folder), TRIPLETS, tmp_path / "a", settings=SETTINGS, device="cpu")


class KilledError(RuntimeError):
    """Stands for a kill."""


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_a_training_that_was_killed_goes_on_the_same_curve(
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
    # A checkpoint that was not finished is passed over.
    broken = tmp_path / "a" / "checkpoints" / "checkpoint-5"
    broken.mkdir()
    (broken / "trainer_state.json").write_text("{")
    again = finetune(folder, TRIPLETS, tmp_path / "a", dev=dev, settings=settings, device="cpu")
    assert "going on from" in caplog.text
    assert again.steps == 6
    assert (again.dev_before, again.dev_after) == (whole.dev_before, whole.dev_after)
    assert again.best_step == whole.best_step
    ours, theirs = (
        {point.step: (point.loss, point.dev) for point in one.curve} for one in (again, whole)
    )
    for step, values in theirs.items():
        assert ours[step] == pytest.approx(values, abs=1e-4, nan_ok=True), step
    with pytest.raises(UserError, match="holds an adapter already"):
        finetune(folder, TRIPLETS, tmp_path / "a", dev=dev, settings=settings, device="cpu")


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_the_best_checkpoint_is_the_one_that_is_kept(
    tiny: Callable[[str], Path], tmp_path: Path, precision: str
) -> None:
    # So high a rate that the model gets worse with every step.
    settings = SETTINGS.model_copy(
        update={"precision": Precision(precision), "learning_rate": 0.5, "epochs": 3}
    )
    dev = fake_pairs(40)
    training = finetune(
        str(tiny("llama")), TRIPLETS, tmp_path / "a", dev=dev, settings=settings, device="cpu"
    )
    scores = {point.step: point.dev for point in training.curve if point.dev is not None}
    assert training.best_step == max(scores, key=scores.__getitem__)
    assert training.dev_after == pytest.approx(scores[training.best_step], abs=0.01)
    assert len(set(scores.values())) > 1
    # Beside the steps the curve shows where they began.
    table = pd.read_csv(tmp_path / "a" / "curve.csv")
    assert table["dev"].dropna().tolist() == [training.dev_before, *scores.values()]
    assert table["step"][0] == 0


def test_a_kill_while_the_adapter_is_written_loses_nothing(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(train, "write_curve", kill)
        with pytest.raises(KilledError):
            finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    assert (tmp_path / "adapter_config.json").exists()
    again = finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    assert again.steps == 3
    assert (tmp_path / "training.json").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "No space left on device; the last whole"),
        (RuntimeError("[enforce fail at inline_container.cc] unexpected pos 1"), "the last whole"),
        (torch.OutOfMemoryError("CUDA out of memory"), "--set mini_batch_size=32"),
    ],
    ids=["disk", "torch", "memory"],
)
@pytest.mark.parametrize(
    "where",
    [(ShowProgress, "on_step_end"), (train, "_score"), (train, "say_estimate"), (train, "_write")],
    ids=["step", "score", "estimate", "end"],
)
def test_no_room_is_one_line(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[object, str],
    error: Exception,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    place, name = where
    monkeypatch.setattr(place, name, fail)
    with pytest.raises(UserError, match=message):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")


def test_a_mean_over_tokens_is_not_trained(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    prompt = Prompt(TEMPLATES["echo"])
    with pytest.raises(UserError, match="training takes the last token's state"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, prompt=prompt, settings=SETTINGS)


def test_gradient_caching_changes_nothing_but_the_memory(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    weights = []
    for name, change in (
        ("whole", {}),
        ("cached", {"mini_batch_size": 3}),
        ("checkpointed", {"gradient_checkpointing": True}),
    ):
        settings = SETTINGS.model_copy(update=change)
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / name, settings=settings, device="cpu")
        weights.append(load_file(tmp_path / name / "adapter_model.safetensors"))
    for other in weights[1:]:
        for name, value in weights[0].items():
            # Adam turns rounding in tiny gradients into steps.
            np.testing.assert_allclose(other[name], value, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("width", [1, 2])
def test_pairs_and_dropout_twins_are_trained_on(
    tiny: Callable[[str], Path], tmp_path: Path, width: int
) -> None:
    rows = [row[:width] for row in TRIPLETS]
    settings = SETTINGS.model_copy(update={"lora_dropout": 0.3})
    training = finetune(str(tiny("llama")), rows, tmp_path / "a", settings=settings, device="cpu")
    assert training.columns == width
    # Over eight texts of which one is right, a guess costs ln 8.
    assert all(point.loss is not None and 0 < point.loss < 20 for point in training.curve)


def test_an_earlier_layer_is_trained_alone(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    prompt = Prompt(demonstrations=(JOCKEY,), layer=1)
    finetune(
        str(tiny("llama")), TRIPLETS, tmp_path / "a", prompt=prompt, settings=SETTINGS, device="cpu"
    )
    names = load_file(tmp_path / "a" / "adapter_model.safetensors").keys()
    assert all(".layers.0." in name for name in names)
    with pytest.raises(UserError, match="layer must be from 0 to 3 but got 9"):
        finetune(
            str(tiny("llama")), TRIPLETS, tmp_path / "b", prompt=Prompt(layer=9), settings=SETTINGS
        )


def test_a_loss_that_is_no_number_ends_the_training(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 1e30, "epochs": 4})
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+; lower learning_rate"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "a", settings=settings, device="cpu")


def test_an_unfinished_training_with_other_settings_is_left_alone(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(ShowProgress, "on_step_end", kill)
        with pytest.raises(KilledError):
            finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")
    other = SETTINGS.model_copy(update={"learning_rate": 0.1})
    with pytest.raises(UserError, match="holds an unfinished training with other settings"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=other, device="cpu")
