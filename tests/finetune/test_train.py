from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from demosearch import Embedder
from demosearch.errors import UserError
from demosearch.finetune import FinetuneSettings, finetune, read_triplets
from demosearch.prompt import Prompt
from tests.examples import JOCKEY
from tests.fakes import fake_pairs

TRIPLETS = [
    (f"A man number {row} walks", f"Somebody {row} walks", f"Nobody {row} walks")
    for row in range(24)
]
SETTINGS = FinetuneSettings(
    batch_size=8, warmup_steps=1, lora_r=4, eval_steps=2, learning_rate=0.01, lora_dropout=0
)


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
    assert len(trainings[0].losses) == 3
    assert trainings[0].losses == trainings[1].losses
    weights = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("a", "b")]
    assert all("lora_" in name for name in weights[0])
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])
    moved = [value for name, value in weights[0].items() if "lora_B" in name]
    # lora_B starts at zero.
    assert any(np.abs(value).max() > 1e-4 for value in moved)
    assert json.loads((tmp_path / "a" / "training.json").read_text())["rows"] == 24
    assert not (tmp_path / "a" / "checkpoints").exists()


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
    before = gain_on(dev, plain.encoder, prompt, prompt).spearman
    after = gain_on(dev, tuned.encoder, prompt, prompt).spearman
    # Float rounding may swap near ties among 30 pairs.
    assert training.dev_before == pytest.approx(before, abs=0.3)
    assert training.dev_after == pytest.approx(after, abs=0.3)
    assert training.dev_before != training.dev_after
    assert training.prompt == prompt.render("")
    assert not np.allclose(plain.encode("A cat."), tuned.encode("A cat."), atol=1e-3)


def test_texts_are_cut_before_they_are_prompted(tiny: Callable[[str], Path]) -> None:
    from transformers import AutoTokenizer

    from demosearch.finetune.train import _rendered

    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    text = "one two three four five six"
    prompt = Prompt()
    ((first, *_),) = _rendered([(text, "short", "short")], prompt, tokenizer, 5)
    kept = tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids[:5])
    assert first == prompt.render(kept)
    assert len(kept) < len(text)


def test_bad_input_is_named(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="24 training rows are fewer than a batch of 256"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path / "x")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="holds an adapter already"):
        finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=SETTINGS)
    (tmp_path / "t.csv").write_text("sent0,sent1\na,b\n")
    with pytest.raises(UserError, match=r"t\.csv, line 2: needed are the columns sent0,sent1,hard"):
        read_triplets(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("anchor,positive,negative\na,b,c\na,,c\n")
    with pytest.raises(UserError, match="line 3: 'positive' is empty"):
        read_triplets(tmp_path / "t.csv")
    with pytest.raises(UserError, match="no training file"):
        read_triplets(tmp_path / "none.csv")


@pytest.mark.data
def test_the_papers_column_names_are_read(data: Path) -> None:
    triplets = read_triplets(data / "nli" / "nli_triplets.csv")
    assert len(triplets) == 13300
    assert triplets[0][1] == "Two woman are holding packages."
