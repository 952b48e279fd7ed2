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

from demosearch import Embedder
from demosearch.datasets import Pairs
from demosearch.errors import UserError
from demosearch.finetune import finetune, job
from demosearch.finetune.callbacks import ShowProgress
from demosearch.models.known import Precision
from demosearch.models.options import LoadOptions
from demosearch.prompt import Prompt
from demosearch.templates import TEMPLATES
from tests.examples import JOCKEY
from tests.fakes import fake_pairs
from tests.finetune.small import SETTINGS, TRIPLETS
from tests.tiny import ODD, overflowing


def test_training_changes_only_the_adapter_and_is_reproducible(
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


def test_loaded_adapter_scores_as_the_trainer_reported(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, prompt = str(tiny("llama")), Prompt(demonstrations=(JOCKEY,))
    dev = fake_pairs(30)
    training = finetune(
        folder, TRIPLETS, tmp_path / "a", prompt=prompt, dev=dev, settings=SETTINGS, device="cpu"
    )
    from demosearch.evaluation import gain_on
    from demosearch.selection.steps import System

    options = LoadOptions(precision=Precision.FP32, device="cpu")
    plain = Embedder.without_demonstrations(folder, options)
    tuned = Embedder.without_demonstrations(folder, options, adapter=tmp_path / "a")
    systems = [System((prompt,))]
    before = gain_on(dev, plain.encoder, systems, []).spearman
    after = gain_on(dev, tuned.encoder, systems, []).spearman
    # Float rounding may swap near ties among 30 pairs.
    assert training.dev_before == pytest.approx(before, abs=0.3)
    assert training.dev_after == pytest.approx(after, abs=0.3)
    assert training.dev_before != training.dev_after
    assert training.prompt == prompt.render("")
    assert not np.allclose(plain.encode("A cat."), tuned.encode("A cat."), atol=1e-3)


def test_wrong_input_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="must be at least batch_size=256 but got 24"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "x")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="already contains an adapter"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS)
    with pytest.raises(
        UserError, match="adapter must not be set but got old: fine-tuning trains a"
    ):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "x", settings=SETTINGS, adapter="old")
    with pytest.raises(UserError, match="devices must not be set but got 0,1; use torchrun"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "x", settings=SETTINGS, devices="0,1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(
        UserError, match="batch_size must be divisible by the 3 processes but got 8"
    ):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "x", settings=SETTINGS)


def test_rows_that_share_a_text_cannot_form_a_batch(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = [("The same premise", *row[1:]) for row in TRIPLETS]
    with pytest.raises(UserError, match="rows without a common text but got 8; lower"):
        finetune(str(tiny("llama")), rows, tmp_path / "a", settings=SETTINGS, device="cpu")


def test_incomplete_weights_are_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"no weights for layers.1.mlp.down_proj.weight \(1 missing"
    ):
        finetune(str(folder), TRIPLETS, tmp_path / "a", settings=SETTINGS, device="cpu")


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_best_checkpoint_is_kept(
    tiny: Callable[[str], Path], tmp_path: Path, precision: str
) -> None:
    # With this learning rate the model gets worse with every step.
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
    # The curve starts with the score before training.
    table = pd.read_csv(tmp_path / "a" / "curve.csv")
    assert table["dev"].dropna().tolist() == [training.dev_before, *scores.values()]
    assert table["step"][0] == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "No space left on device; the last complete"),
        (
            RuntimeError("[enforce fail at inline_container.cc] unexpected pos 1"),
            "the last complete",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "--set mini_batch_size=32"),
    ],
    ids=["disk", "torch", "memory"],
)
@pytest.mark.parametrize(
    "where",
    [(ShowProgress, "on_step_end"), (job, "_score"), (job, "_write")],
    ids=["step", "score", "end"],
)
def test_full_disk_or_memory_is_reported_in_one_line(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[object, str],
    error: Exception,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    owner, name = where
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(UserError, match=message):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS, device="cpu")


def test_mean_pooling_is_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    prompt = Prompt(TEMPLATES["echo"])
    with pytest.raises(UserError, match="training requires the last token's state"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, prompt=prompt, settings=SETTINGS)


def test_gradient_caching_does_not_change_the_loss(
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
def test_pairs_and_single_texts_can_be_trained_on(
    tiny: Callable[[str], Path], tmp_path: Path, width: int
) -> None:
    rows = [row[:width] for row in TRIPLETS]
    settings = SETTINGS.model_copy(update={"lora_dropout": 0.3})
    training = finetune(str(tiny("llama")), rows, tmp_path / "a", settings=settings, device="cpu")
    assert training.columns == width
    # Over eight texts of which one is right, a guess costs ln 8.
    assert all(point.loss is not None and 0 < point.loss < 20 for point in training.curve)


def test_inner_layer_trains_only_the_layers_below(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
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


def test_loss_that_is_not_finite_ends_the_training(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 1e30, "epochs": 4})
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+; lower learning_rate"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "a", settings=settings, device="cpu")


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_a_dev_score_that_is_not_finite_ends_the_training(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    # The embeddings of so large weights are all equal, so that no correlation exists.
    settings = SETTINGS.model_copy(update={"learning_rate": 1e10, "epochs": 4})
    with pytest.raises(UserError, match=r"the (dev score|loss) is (nan|inf) at step \d+"):
        finetune(
            str(tiny("llama")),
            TRIPLETS,
            tmp_path / "a",
            dev=fake_pairs(8),
            settings=settings,
            device="cpu",
        )
    assert not (tmp_path / "a" / "adapter_model.safetensors").exists()
    dev = fake_pairs(8)
    equal = Pairs("equal", dev.sentences1, dev.sentences2, (1.0,) * 8)
    with pytest.raises(UserError, match="the gold scores of the dev pairs must differ"):
        finetune(
            str(tiny("llama")), TRIPLETS, tmp_path / "b", dev=equal, settings=SETTINGS, device="cpu"
        )


def test_warm_up_that_is_too_long_logs_a_warning(
    tiny: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for steps, warns in ((2, False), (3, True)):
        caplog.clear()
        settings = SETTINGS.model_copy(update={"warmup_steps": steps})
        finetune(
            str(tiny("llama")), TRIPLETS, tmp_path / str(steps), settings=settings, device="cpu"
        )
        message = "does not reach 0.01: there are 3 steps and 3 warm-up steps"
        assert (message in caplog.text) is warns


def test_precision_of_the_options_overrides_the_recipe(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"precision": Precision.NF4})
    options = LoadOptions(precision="fp32", device="cpu")
    training = finetune(
        str(tiny("llama")), TRIPLETS, tmp_path / "value", options, settings=settings
    )
    assert training.precision == training.settings.precision == "fp32"
    keywords = finetune(
        str(tiny("llama")),
        TRIPLETS,
        tmp_path / "keywords",
        settings=settings,
        precision="fp32",
        device="cpu",
    )
    assert keywords.curve == training.curve


def test_an_adapter_that_is_still_zero_is_not_written(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    # In the first of several warm-up steps the learning rate is 0.
    settings = SETTINGS.model_copy(update={"max_steps": 1, "warmup_steps": 3})
    with pytest.raises(UserError, match="the adapter is still zero at the step that was kept"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "a", settings=settings, device="cpu")
    assert not (tmp_path / "a" / "adapter_model.safetensors").exists()


def test_a_dev_score_of_states_that_overflow_names_the_precisions(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    model = str(overflowing(tiny("llama"), tmp_path / "model"))
    dev = fake_pairs(20)
    odd = Pairs("odd", dev.sentences1, (*dev.sentences2[:-1], ODD), dev.scores)
    fp16 = SETTINGS.model_copy(update={"precision": Precision.FP16})
    reason = "the dev score is nan at step 0: an embedding is not finite, .* train in bf16 or fp32"
    with pytest.raises(UserError, match=reason):
        finetune(model, TRIPLETS, tmp_path / "a", dev=odd, settings=fp16, device="cpu")
