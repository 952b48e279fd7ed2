"""The exported folder, loaded by plain sentence-transformers, against our own encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from demosearch import Embedder, Encoder, Prompt
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export import export_sentence_transformer, export_vllm
from demosearch.export.chat_template import EDGE_CASES
from demosearch.finetune import FinetuneSettings, finetune
from demosearch.templates import TEMPLATES
from tests.examples import JOCKEY, demonstrations_file
from tests.fakes import fake_pairs

LONG = "many words and more " * 60
TRICKY = Demonstration(sentence="It {% says %} {{ this }} \\n caf\xe9.", word="Odd")


def written(
    folder: Path, model: Path, prompt: Prompt | None = None, adapter: Path | None = None
) -> Path:
    """Write a demonstrations file for a model and return its path."""
    prompt = prompt or Prompt(demonstrations=(JOCKEY,))
    encoder = Encoder.load(str(model), precision="fp32", device="cpu", adapter=adapter)
    value = demonstrations_file(encoder.record).model_dump()
    value["prompts"] = [prompt.record(encoder.resolve_layer(prompt.layer)).model_dump()]
    value["adapter"] = encoder.adapter.model_dump() if encoder.adapter else None
    path = folder / "best.json"
    DemonstrationsFile.model_validate(value).write(path)
    return path


def assert_same(path: Path, folder: Path, texts: list[str]) -> None:
    ours = Embedder.load(path, device="cpu").encode(texts)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(theirs, ours, atol=1e-4, rtol=1e-4)


def test_every_family_gives_the_same_embeddings(
    tiny: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    path = written(tmp_path, tiny(family))
    exported = export_sentence_transformer(path, tmp_path / "out")
    assert exported.width == (24 if family == "opt-350m" else 48)
    assert_same(path, tmp_path / "out", list(EDGE_CASES))


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(),
        Prompt(demonstrations=(JOCKEY, TRICKY)),
        Prompt(TEMPLATES["knowledge"], (TRICKY,)),
        Prompt(replace(TEMPLATES["prompteol"], joiner="\n"), (JOCKEY,), layer=1),
    ],
    ids=["plain", "two", "knowledge", "layer"],
)
def test_every_prompt_gives_the_same_embeddings(
    tiny: Callable[[str], Path], tmp_path: Path, prompt: Prompt
) -> None:
    path = written(tmp_path, tiny("llama"), prompt)
    export_sentence_transformer(path, tmp_path / "out")
    assert_same(path, tmp_path / "out", list(EDGE_CASES))


def test_a_layer_of_another_width(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(tmp_path, tiny("opt-350m"), Prompt(demonstrations=(JOCKEY,), layer=2))
    assert export_sentence_transformer(path, tmp_path / "out").width == 48
    assert_same(path, tmp_path / "out", list(EDGE_CASES))


def test_a_text_that_is_too_long_keeps_the_end_of_the_prompt(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    path = written(tmp_path, tiny("llama"))
    export_sentence_transformer(path, tmp_path / "out")
    student = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    ids = student.preprocess([LONG])["input_ids"][0]
    assert student.tokenizer.decode(ids).endswith('" means in one word:"')


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_goes_along(tiny: Callable[[str], Path], tmp_path: Path, merge: bool) -> None:
    adapter = tmp_path / "adapter"
    base = AutoModel.from_pretrained(tiny("llama"))
    targets = ["q_proj", "v_proj", "down_proj"]
    base.add_adapter(LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    base.save_pretrained(adapter)
    path = written(tmp_path, tiny("llama"), adapter=adapter)
    export_sentence_transformer(path, tmp_path / "out", merge=merge)
    assert (tmp_path / "out" / "adapter_config.json").exists() is not merge
    assert (tmp_path / "out" / "config.json").exists() is merge
    assert_same(path, tmp_path / "out", list(EDGE_CASES))


@pytest.mark.parametrize("merge", [True, False])
def test_weights_under_an_adapter_have_the_type_that_was_asked_for(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    merge: bool,
) -> None:
    base = AutoModel.from_pretrained(tiny("llama"))
    base.add_adapter(LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    base.save_pretrained(tmp_path / "adapter")
    path = written(tmp_path, tiny("llama"), adapter=tmp_path / "adapter")
    export_sentence_transformer(path, tmp_path / "out", merge=merge, precision="bf16")
    student = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    weights = dict(student.named_parameters())
    [embeddings] = [each for name, each in weights.items() if "embed_tokens" in name]
    assert embeddings.dtype == torch.bfloat16
    card = (tmp_path / "out" / "README.md").read_text()
    assert "that chose the prompt, with weights in fp32:\n" in card
    assert ("--merge puts them into it" in caplog.text) is not merge


@pytest.mark.parametrize("merge", [True, False])
def test_what_finetune_wrote_is_exported_with_its_prompt(
    tiny: Callable[[str], Path], tmp_path: Path, merge: bool
) -> None:
    prompt = Prompt(demonstrations=(TRICKY,), layer=2)
    rows = [(f"A man {row} walks", f"Somebody {row} walks") for row in range(16)]
    settings = FinetuneSettings(
        precision="fp32", batch_size=8, warmup_steps=1, lora_r=4, learning_rate=0.01, eval_steps=1
    )
    adapter = tmp_path / "adapter"
    options = {"dev": fake_pairs(20), "settings": settings, "device": "cpu"}
    training = finetune(str(tiny("llama")), rows, adapter, prompt=prompt, **options)
    export_sentence_transformer(adapter, tmp_path / "out", merge=merge)
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu", adapter=adapter)
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(list(EDGE_CASES))
    np.testing.assert_allclose(
        theirs, Embedder(encoder, [prompt]).encode(list(EDGE_CASES)), atol=1e-4, rtol=1e-4
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "fine-tuned as a sentence encoder" in card
    assert f"{training.dev_after:.2f}, before training {training.dev_before:.2f}" in card
    assert f"on 16 rows (sha256 {training.rows_sha256}), 2 steps of 8" in card


def test_an_adapter_under_another_prompt_is_pointed_out(
    tiny: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(f"A man {row} walks", f"Somebody {row} walks") for row in range(8)]
    settings = FinetuneSettings(precision="fp32", batch_size=8, warmup_steps=0, lora_r=4)
    adapter = tmp_path / "adapter"
    finetune(str(tiny("llama")), rows, adapter, settings=settings, device="cpu")
    path = written(tmp_path, tiny("llama"))
    export_sentence_transformer(path, tmp_path / "out", adapter=adapter, merge=True)
    assert f"{adapter} was trained under another prompt or at another layer" in caplog.text
    caplog.clear()
    path = written(tmp_path, tiny("llama"), Prompt())
    export_sentence_transformer(path, tmp_path / "same", adapter=adapter, merge=True)
    assert "another prompt" not in caplog.text


def test_a_folder_without_a_training_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder without training.json: give demonstrations"):
        export_sentence_transformer(tmp_path, tmp_path / "out")
    (tmp_path / "training.json").write_text('{"model": 3}')
    with pytest.raises(UserError, match=r"training .*training.json: model must be a string"):
        export_sentence_transformer(tmp_path, tmp_path / "out")


def test_it_loads_where_this_package_is_not(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(tmp_path, tiny("opt"))
    export_sentence_transformer(path, tmp_path / "out")
    program = (
        "import sys, json; sys.modules['demosearch'] = None\n"
        "from sentence_transformers import SentenceTransformer\n"
        "model = SentenceTransformer(sys.argv[1], device='cpu')\n"
        "print(json.dumps(model.encode(['A cat sleeps'])[0].tolist()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    expected = Embedder.load(path, device="cpu").encode("A cat sleeps")
    assert json.loads(result.stdout) == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_card_says_where_it_comes_from(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(tmp_path, tiny("llama"))
    export_sentence_transformer(path, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'This sentence : "A jockey riding a horse." means in one word:"Equestrian".' in card
    assert "70.50; without demonstration, at the last layer, 65.25" in card
    assert "Corrected for it the gain is +4.00 [+1.00, +7.00]" in card


def test_what_cannot_be_expressed_says_so(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(tmp_path, tiny("llama"))
    value = json.loads(path.read_text())
    value["prompts"] *= 2
    (tmp_path / "two.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="2 prompts are averaged"):
        export_sentence_transformer(tmp_path / "two.json", tmp_path / "out")
    mean = tmp_path / "mean"
    mean.mkdir()
    with pytest.raises(UserError, match="takes the mean over the text's tokens"):
        export_sentence_transformer(
            written(mean, tiny("llama"), Prompt(TEMPLATES["echo"])), tmp_path / "out"
        )
    with pytest.raises(UserError, match="there is no adapter to merge"):
        export_sentence_transformer(path, tmp_path / "out", merge=True)
    with pytest.raises(UserError, match="was made for other weights"):
        export_sentence_transformer(path, tmp_path / "out", model=str(tiny("opt")))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="is there already"):
        export_sentence_transformer(path, tmp_path)


def test_vllm_gets_the_command_and_the_request(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(tmp_path, tiny("llama"))
    export_vllm(path, tmp_path / "out")
    text = (tmp_path / "out" / "SERVING.md").read_text()
    assert f"vllm serve {tmp_path / 'out'} --runner pooling" in text
    assert "have not been run" in text
    early = tmp_path / "early"
    early.mkdir()
    with pytest.raises(UserError, match="takes layer 1 of 3"):
        export_vllm(written(early, tiny("llama"), Prompt(layer=1)), tmp_path / "early-out")
