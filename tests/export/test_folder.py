"""The exported folder, loaded by plain sentence-transformers, against our own encoder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jinja2 import TemplateError
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from demosearch import Embedder, Encoder, Prompt
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export import export_sentence_transformer, export_vllm
from demosearch.export.chat_template import EDGE_CASES
from demosearch.finetune import FinetuneSettings, finetune
from demosearch.models.options import LoadOptions
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


def test_embeddings_of_every_family_are_equal(
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
def test_embeddings_under_every_prompt_are_equal(
    tiny: Callable[[str], Path], tmp_path: Path, prompt: Prompt
) -> None:
    path = written(tmp_path, tiny("llama"), prompt)
    export_sentence_transformer(path, tmp_path / "out")
    assert_same(path, tmp_path / "out", list(EDGE_CASES))


def test_layer_with_another_width_is_exported(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(tmp_path, tiny("opt-350m"), Prompt(demonstrations=(JOCKEY,), layer=2))
    assert export_sentence_transformer(path, tmp_path / "out").width == 48
    assert_same(path, tmp_path / "out", list(EDGE_CASES))


def test_a_tokenizer_without_padding_and_end_token_is_exported(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    model = shutil.copytree(tiny("llama"), tmp_path / "model")
    settings = json.loads((model / "tokenizer_config.json").read_text())
    for name in ("eos_token", "pad_token"):
        settings.pop(name)
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    path = written(tmp_path, model)
    export_sentence_transformer(path, tmp_path / "out")
    assert_same(path, tmp_path / "out", list(EDGE_CASES))


def test_truncation_keeps_the_end_of_the_prompt(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    path = written(tmp_path, tiny("llama"))
    export_sentence_transformer(path, tmp_path / "out")
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    ids = model.preprocess([LONG])["input_ids"][0]
    assert model.tokenizer.decode(ids).endswith('" means in one word:"')


@pytest.mark.parametrize("merge", [True, False])
def test_adapter_is_exported(tiny: Callable[[str], Path], tmp_path: Path, merge: bool) -> None:
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


def test_only_an_adapter_named_by_the_caller_may_differ_from_the_file(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    base = AutoModel.from_pretrained(tiny("llama"))
    base.add_adapter(LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    adapter = tmp_path / "adapter"
    base.save_pretrained(adapter)
    path = written(tmp_path, tiny("llama"), adapter=adapter)
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1)
    base.save_pretrained(adapter)
    with pytest.raises(UserError, match="that adapter has changed"):
        export_sentence_transformer(path, tmp_path / "out", merge=True)
    export_sentence_transformer(path, tmp_path / "out", LoadOptions(adapter=adapter), merge=True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "chosen, without the adapter above:" in card


@pytest.mark.parametrize("merge", [True, False])
def test_base_weights_have_the_requested_precision(
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
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    weights = dict(model.named_parameters())
    [embeddings] = [weight for name, weight in weights.items() if "embed_tokens" in name]
    assert embeddings.dtype == torch.bfloat16
    card = (tmp_path / "out" / "README.md").read_text()
    assert "which the prompt was\nchosen, with weights in fp32:" in card
    assert ("use --merge to include them" in caplog.text) is not merge


@pytest.mark.parametrize("merge", [True, False])
def test_trained_adapter_is_exported_with_its_prompt(
    tiny: Callable[[str], Path], tmp_path: Path, merge: bool
) -> None:
    prompt = Prompt(demonstrations=(TRICKY,), layer=2)
    rows = [(f"A man {row} walks", f"Somebody {row} walks") for row in range(16)]
    settings = FinetuneSettings(
        precision="fp32", batch_size=8, warmup_steps=1, lora_r=4, learning_rate=0.01, eval_steps=1
    )
    adapter = tmp_path / "adapter"
    training = finetune(
        str(tiny("llama")),
        rows,
        adapter,
        prompt=prompt,
        dev=fake_pairs(20),
        settings=settings,
        device="cpu",
    )
    export_sentence_transformer(adapter, tmp_path / "out", merge=merge)
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu", adapter=adapter)
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(list(EDGE_CASES))
    np.testing.assert_allclose(
        theirs, Embedder(encoder, [prompt]).encode(list(EDGE_CASES)), atol=1e-4, rtol=1e-4
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "fine-tuned as a sentence encoder" in card
    assert f"{training.dev_after:.2f}. Before training: {training.dev_before:.2f}" in card
    assert f"on 16 rows (sha256 {training.rows_sha256}), 2 steps of 8" in card


def test_adapter_with_another_prompt_logs_a_warning(
    tiny: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(f"A man {row} walks", f"Somebody {row} walks") for row in range(8)]
    settings = FinetuneSettings(precision="fp32", batch_size=8, warmup_steps=0, lora_r=4)
    adapter = tmp_path / "adapter"
    finetune(str(tiny("llama")), rows, adapter, settings=settings, device="cpu")
    path = written(tmp_path, tiny("llama"))
    export_sentence_transformer(path, tmp_path / "out", adapter=adapter, merge=True)
    assert f"{adapter} was trained with a different prompt or at a different layer" in caplog.text
    caplog.clear()
    path = written(tmp_path, tiny("llama"), Prompt())
    export_sentence_transformer(path, tmp_path / "same", adapter=adapter, merge=True)
    assert "different prompt" not in caplog.text


def test_folder_without_a_training_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"but it has no training.json"):
        export_sentence_transformer(tmp_path, tmp_path / "out")
    (tmp_path / "training.json").write_text('{"model": 3}')
    with pytest.raises(UserError, match=r"training .*training.json: model must be a string"):
        export_sentence_transformer(tmp_path, tmp_path / "out")


def test_exported_folder_loads_without_this_package(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
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


def test_model_card_states_origin_and_scores(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(tmp_path, tiny("llama"))
    export_sentence_transformer(path, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'This sentence : "A jockey riding a horse." means in one word:"Equestrian".' in card
    assert "70.50. Without demonstrations, at the last layer: 65.25" in card
    assert "Corrected for the choice, the gain is +4.00 [+1.00, +7.00]" in card


def test_unsupported_prompts_are_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(tmp_path, tiny("llama"))
    value = json.loads(path.read_text())
    value["prompts"] *= 2
    (tmp_path / "two.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="must have one prompt but got 2"):
        export_sentence_transformer(tmp_path / "two.json", tmp_path / "out")
    mean = tmp_path / "mean"
    mean.mkdir()
    with pytest.raises(UserError, match="uses the mean over the text's tokens"):
        export_sentence_transformer(
            written(mean, tiny("llama"), Prompt(TEMPLATES["echo"])), tmp_path / "out"
        )
    with pytest.raises(UserError, match="--merge requires an adapter"):
        export_sentence_transformer(path, tmp_path / "out", merge=True)
    with pytest.raises(UserError, match="was made for different weights"):
        export_sentence_transformer(path, tmp_path / "out", model=str(tiny("opt")))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="must be a new or empty folder"):
        export_sentence_transformer(path, tmp_path)


def test_vllm_export_contains_command_and_request(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    path = written(tmp_path, tiny("llama"))
    export_vllm(path, tmp_path / "out")
    text = (tmp_path / "out" / "SERVING.md").read_text()
    assert f"vllm serve {tmp_path / 'out'} --runner pooling" in text
    assert "They have not been tested" in text
    early = tmp_path / "early"
    early.mkdir()
    with pytest.raises(UserError, match="uses layer 1 of 3"):
        export_vllm(written(early, tiny("llama"), Prompt(layer=1)), tmp_path / "early-out")


@pytest.mark.parametrize("family", ["llama", "gpt2", "llama-sentencepiece"])
def test_prompts_of_sentence_transformers_are_put_before_the_text(
    tiny: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    path = written(tmp_path, tiny(family))
    export_sentence_transformer(path, tmp_path / "out")
    ours = Embedder.load(path, device="cpu")
    model = SentenceTransformer(
        str(tmp_path / "out"), device="cpu", prompts={"search": "  query of a user: ", "none": ""}
    )
    close = {"atol": 1e-4, "rtol": 1e-4}
    texts = list(EDGE_CASES)
    plain = ours.encode(texts)
    for function in (model.encode, model.encode_query, model.encode_document):
        np.testing.assert_allclose(function(texts), plain, **close)
    np.testing.assert_allclose(model.encode(texts, prompt_name="none"), plain, **close)
    before = ours.encode([f"  query of a user: {text}" for text in texts])
    assert not np.allclose(before, plain, **close)
    np.testing.assert_allclose(model.encode(texts, prompt_name="search"), before, **close)
    np.testing.assert_allclose(model.encode(texts, prompt="  query of a user: "), before, **close)
    hostile = 'a "quote" </s> <s>'
    np.testing.assert_allclose(
        model.encode(texts, prompt=hostile),
        ours.encode([hostile + text for text in texts]),
        **close,
    )


def test_a_prompt_of_sentence_transformers_leaves_the_end_of_a_long_text(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    export_sentence_transformer(written(tmp_path, tiny("llama")), tmp_path / "out")
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    ids = model.preprocess([LONG], prompt="query: ")["input_ids"][0]
    assert model.tokenizer.decode(ids).endswith('" means in one word:"')


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([("user", "A cat."), ("user", "Dogs.")], "must be one user message"),
        ([("user", "A cat."), ("assistant", "Yes.")], "must be one user message"),
        ([("user", "A cat."), ("system", "query: ")], "must be one user message"),
        ([("tool", "A cat.")], "must be one user message"),
        ([("system", "query: ")], "must be one user message"),
        ([("user", [{"type": "text", "text": "A cat."}])], "must be a text"),
    ],
)
def test_other_messages_are_refused(
    tiny: Callable[[str], Path], tmp_path: Path, messages: list[tuple[str, object]], message: str
) -> None:
    export_sentence_transformer(written(tmp_path, tiny("llama")), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    with pytest.raises(TemplateError, match=message):
        tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages]
        )
