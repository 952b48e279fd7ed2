"""The paper's baselines are compared with plain transformers, on tiny seeded models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoConfig, AutoModel, AutoTokenizer, T5EncoderModel

from demosearch.errors import UserError
from demosearch.evaluation.baselines import Method, open_baseline
from demosearch.evaluation.kinds import Kind, kind_of
from demosearch.evaluation.mask_templates import MASK_TEMPLATES
from demosearch.models.known import resolve
from demosearch.models.options import LoadOptions
from tests.tiny import CONTEXT, ENCODERS, save_tiny_encoder

TEXTS = [
    "A man plays a guitar",
    "",
    "Dogs bark at night. Cats sleep by day.",
    "Is it <mask> raining?",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    paths = {}
    for kind in ENCODERS:
        folder = tmp_path_factory.mktemp(kind)
        save_tiny_encoder(kind, folder)
        paths[kind] = str(folder)
    return paths


def plain_states(folder: str, text: str) -> tuple[torch.Tensor, list[int], torch.nn.Module]:
    """Return one text's last states, its tokens and the model."""
    model = (
        (T5EncoderModel if Path(folder).name.startswith("t5") else AutoModel)
        .from_pretrained(folder)
        .eval()
    )
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state[0]
    return states, inputs["input_ids"][0].tolist(), model


@pytest.mark.parametrize(
    ("kind", "method"),
    [("bert", "mean"), ("roberta", "mean"), ("t5", "mean"), ("bert", "cls"), ("roberta", "cls")],
)
def test_mean_and_first_token_equal_transformers_states(
    folders: dict[str, str], kind: str, method: str
) -> None:
    embeddings = open_baseline(folders[kind], method=method, device="cpu").encode(TEXTS)
    for text, row in zip(TEXTS, embeddings, strict=True):
        states, _, _ = plain_states(folders[kind], text)
        expected = states.mean(dim=0) if method == "mean" else states[0]
        assert row == pytest.approx(expected.numpy(), abs=1e-4)


def test_pooler_is_applied_to_the_first_token(folders: dict[str, str]) -> None:
    embeddings = open_baseline(folders["bert"], method="pooler", device="cpu").encode(TEXTS)
    for text, row in zip(TEXTS, embeddings, strict=True):
        states, _, model = plain_states(folders["bert"], text)
        with torch.inference_mode():
            expected = torch.tanh(model.pooler.dense(states[0]))
        assert row == pytest.approx(expected.numpy(), abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "template", "wording"),
    [
        ("bert", None, 'This sentence : "{}" means<mask>.'),
        ("bert", "promptbert", 'This sentence of "{}" means<mask>.'),
        ("roberta", None, "This sentence : ' {} ' means<mask>."),
    ],
)
def test_prompt_returns_the_state_of_the_mask(
    folders: dict[str, str], kind: str, template: str | None, wording: str
) -> None:
    baseline = open_baseline(folders[kind], method="prompt", template=template, device="cpu")
    assert baseline.describe()["method"] == "prompt"
    ends = ["A man plays a guitar.", "", "Dogs bark at night. Cats sleep by day.", TEXTS[3]]
    for text, row in zip(ends, baseline.encode(TEXTS), strict=True):
        states, ids, _ = plain_states(folders[kind], wording.format(text))
        mask = max(index for index, token in enumerate(ids) if token == 600)
        assert row == pytest.approx(states[mask].numpy(), abs=1e-4)


def test_the_prompt_of_a_text_that_is_too_long_keeps_its_mask(folders: dict[str, str]) -> None:
    baseline = open_baseline(folders["bert"], method="prompt", device="cpu")
    long = "many words " * CONTEXT
    row = baseline.encode([long])[0]
    tokenizer = baseline.model.tokenizer
    cut = baseline._prompt(long, MASK_TEMPLATES["bert-prompt"])
    assert cut.endswith('" means<mask>.')
    assert CONTEXT - 4 <= len(tokenizer(cut)["input_ids"]) <= CONTEXT
    states, ids, _ = plain_states(folders["bert"], cut)
    assert row == pytest.approx(states[ids.index(600)].numpy(), abs=1e-4)


def test_a_sentence_transformers_folder_is_used_unchanged(
    folders: dict[str, str], tmp_path: Path
) -> None:
    saved = open_baseline(folders["bert"], method="mean", device="cpu")
    saved.model.save_pretrained(str(tmp_path / "saved"))
    baseline = open_baseline(str(tmp_path / "saved"), device="cpu")
    expected: NDArray[np.float32] = SentenceTransformer(
        str(tmp_path / "saved"), device="cpu"
    ).encode(TEXTS)
    np.testing.assert_allclose(baseline.encode(TEXTS), expected, atol=1e-6)
    assert baseline.describe()["method"] == "sentence-transformers"
    assert baseline.record.revision.startswith("sha256:")


def test_the_kind_of_a_model_is_found_without_its_weights(
    folders: dict[str, str], tiny: Callable[[str], Path]
) -> None:
    assert {kind_of(resolve(folders[kind])) for kind in folders} == {Kind.BIDIRECTIONAL}
    assert kind_of(resolve(str(tiny("opt")))) is Kind.DECODER
    assert kind_of(resolve("smollm2-135m")) is Kind.DECODER


def test_options_that_do_not_apply_are_refused(folders: dict[str, str]) -> None:
    with pytest.raises(UserError, match="requires --method prompt or mean or cls or pooler"):
        open_baseline(folders["bert"])
    with pytest.raises(UserError, match="method must be one of prompt, mean, cls, pooler"):
        open_baseline(folders["bert"], method="max")
    with pytest.raises(UserError, match="has none; use cls or mean"):
        open_baseline(folders["t5"], method=Method.POOLER)
    with pytest.raises(UserError, match=r"template must be one of bert-prompt, .* but got 'x'"):
        open_baseline(folders["bert"], method="prompt", template="x")
    with pytest.raises(UserError, match="template requires --method prompt"):
        open_baseline(folders["bert"], method="mean", template="promptbert")
    with pytest.raises(UserError, match=r"precision must be fp32, bf16 or fp16 .* but got nf4"):
        open_baseline(folders["bert"], method="mean", precision="nf4")
    with pytest.raises(UserError, match="adapter requires a decoder-only model"):
        open_baseline(folders["bert"], LoadOptions(adapter="lora"), method="mean")


def test_options_may_be_a_value(folders: dict[str, str]) -> None:
    options = LoadOptions(precision="bf16", device="cpu")
    baseline = open_baseline(folders["bert"], options, method="mean")
    assert (baseline.record.precision, baseline.arithmetic) == ("bf16", "cpu, bfloat16")


def changed_tokenizer(folder: str, copy: Path, **settings: Any) -> str:
    """Copy a model with other attributes of its tokenizer."""
    shutil.copytree(folder, copy)
    path = copy / "tokenizer_config.json"
    config = json.loads(path.read_text()) | settings
    path.write_text(
        json.dumps({name: value for name, value in config.items() if value is not None})
    )
    return str(copy)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (kind, method)
        for kind in sorted(ENCODERS)
        for method in ("mean", "cls", "prompt", "pooler")
        # T5 has no pooler.
        if (kind, method) != ("t5", "pooler")
    ],
)
def test_a_tokenizer_that_pads_on_the_left_changes_nothing(
    folders: dict[str, str], tmp_path: Path, kind: str, method: str
) -> None:
    folder = changed_tokenizer(folders[kind], tmp_path / kind, padding_side="left")
    embeddings = open_baseline(folder, method=method, device="cpu").encode(TEXTS)
    expected = open_baseline(folders[kind], method=method, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-5)
    if method in ("mean", "cls"):
        for text, row in zip(TEXTS, embeddings, strict=True):
            states, _, _ = plain_states(folder, text)
            alone = states.mean(dim=0) if method == "mean" else states[0]
            np.testing.assert_allclose(row, alone.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["mean", "cls"])
def test_texts_of_a_saved_model_that_pads_on_the_left_are_independent_of_their_batch(
    folders: dict[str, str], tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved = open_baseline(folders["bert"], method=method, device="cpu")
    saved.model.save_pretrained(str(tmp_path / "saved"))
    folder = changed_tokenizer(str(tmp_path / "saved"), tmp_path / "left", padding_side="left")
    baseline = open_baseline(folder, device="cpu")
    assert "is given one text at a time" in caplog.text
    for text, row in zip(TEXTS, baseline.encode(TEXTS), strict=True):
        states, _, _ = plain_states(folders["bert"], text)
        alone = states.mean(dim=0) if method == "mean" else states[0]
        np.testing.assert_allclose(row, alone.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["fnet", "convbert"])
def test_types_that_read_the_padding_get_one_text_at_a_time(kind: str, tmp_path: Path) -> None:
    save_tiny_encoder("bert", tmp_path / kind)
    settings = {**ENCODERS["bert"].to_diff_dict(), "model_type": kind}
    settings |= {
        "num_hidden_layers": 2,
        "max_position_embeddings": 512,
        "tpu_short_seq_length": 512,
    }
    settings.pop("architectures", None)
    torch.manual_seed(7)
    model = AutoModel.from_config(AutoConfig.for_model(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1)
    model.save_pretrained(tmp_path / kind)
    folder = changed_tokenizer(str(tmp_path / kind), tmp_path / f"2-{kind}", model_max_length=512)
    baseline = open_baseline(folder, method="mean", device="cpu")
    assert baseline.batch_size == 1
    for text, row in zip(TEXTS, baseline.encode([*TEXTS, "night " * 900]), strict=False):
        states, _, _ = plain_states(folder, text)
        np.testing.assert_allclose(row, states.mean(dim=0).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_a_tokenizer_without_a_padding_token(
    folders: dict[str, str], tmp_path: Path, kind: str
) -> None:
    folder = changed_tokenizer(folders[kind], tmp_path / kind, pad_token=None)
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    baseline = open_baseline(folder, method="mean", device="cpu")
    for text, row in zip(TEXTS, baseline.encode(TEXTS), strict=True):
        states, _, _ = plain_states(folder, text)
        np.testing.assert_allclose(row, states.mean(dim=0).numpy(), rtol=1e-5, atol=1e-5)
    baseline.model.save_pretrained(str(tmp_path / "saved"))
    saved = changed_tokenizer(str(tmp_path / "saved"), tmp_path / "without", pad_token=None)
    np.testing.assert_allclose(
        open_baseline(saved, device="cpu").encode(TEXTS),
        baseline.encode(TEXTS),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("is_saved", [False, True], ids=["plain", "saved"])
@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_a_tokenizer_without_a_maximum_cuts_texts_at_the_last_position(
    folders: dict[str, str], tmp_path: Path, kind: str, is_saved: bool
) -> None:
    folder = changed_tokenizer(folders[kind], tmp_path / kind, model_max_length=None)
    long = "night " * 400
    if is_saved:
        modules = [Transformer(folder), Pooling(48, "mean")]
        SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "saved"))
        baseline = open_baseline(str(tmp_path / "saved"), device="cpu")
    else:
        baseline = open_baseline(folder, method="mean", device="cpu")
    limit = baseline.model.max_seq_length
    # The padding of the tiny RoBERTa has the index 0, so that its positions begin at 1.
    assert kind == "t5" or limit == {"bert": CONTEXT, "roberta": CONTEXT + 1}[kind]
    row = baseline.encode([long])[0]
    model = (T5EncoderModel if kind == "t5" else AutoModel).from_pretrained(folder).eval()
    truncated = {} if kind == "t5" else {"truncation": True, "max_length": limit}
    inputs = AutoTokenizer.from_pretrained(folder)(long, return_tensors="pt", **truncated)
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state[0]
    np.testing.assert_allclose(row, states.mean(dim=0).numpy(), rtol=1e-5, atol=1e-5)
