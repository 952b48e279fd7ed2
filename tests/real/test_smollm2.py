"""Tests with a real model and, if DEMOSEARCH_DATA is set, with real data."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from demosearch import Embedder, Encoder, Prompt, search
from demosearch.candidates import CandidateSettings, generate, write_candidates
from demosearch.datasets import Pairs, Split, read_pairs
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.encoder.tokens import PromptTokenizer
from demosearch.metrics.correlation import spearman
from demosearch.models.known import resolve
from demosearch.models.loading import load
from demosearch.prompt import prepare
from demosearch.selection.pair_encoder import PairEncoder
from tests.conftest import REPOSITORY

MODEL = "smollm2-135m"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(MODEL, device="cpu")


def test_the_packaged_model_is_unpacked_only_once(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr("demosearch.models.conversion._convert", fail)
    loaded = load(resolve(MODEL), device="cpu")
    assert loaded.record == encoder.record
    assert "SmolLM2-135M-Instruct.Q4_1.gguf, dequantised" in loaded.record.source
    assert loaded.record.quantization == "Q4_1"


def test_states_equal_those_of_a_plain_forward_pass(encoder: Encoder) -> None:
    candidates = generate(
        CandidateSettings(labeler="none", dictionary="starter", n_dictionary=2)
    ).candidates
    prompt = Prompt(demonstrations=tuple(candidates))
    texts = ["A man plays a guitar.", "", "'Quote' first", "Stocks fell 3.5% on Monday"]
    states = encoder.encode(texts, prompt)
    plain = load(resolve(MODEL), device="cpu").model
    for text, state in zip(texts, states, strict=True):
        inputs = encoder.tokenizer(prompt.render(text), return_tensors="pt")
        with torch.inference_mode():
            expected = plain(**inputs).last_hidden_state[0, -1].float().numpy()
        cosine = state @ expected / np.linalg.norm(state) / np.linalg.norm(expected)
        assert cosine > 0.9999


def test_bfloat16_embeddings_equal_float32_up_to_rounding(encoder: Encoder) -> None:
    texts = ["A man plays a guitar.", "", "'Quote' first", "Stocks fell 3.5% on Monday", "Dogs run"]
    states = [
        Encoder.load(MODEL, precision=precision, device="cpu").encode(texts, Prompt())
        for precision in ("bf16", "fp32")
    ]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in states]
    assert (unit[0] * unit[1]).sum(1).min() > 0.999


@pytest.mark.data
def test_spliced_tokens_equal_those_of_the_whole_prompt(encoder: Encoder, data: Path) -> None:
    texts = [prepare(text) for text in read_pairs("stsb", Split.DEV, str(data)).sentences()]
    tokenize = PromptTokenizer(encoder.tokenizer, encoder.max_tokens)
    candidates = generate(
        CandidateSettings(labeler="none", dictionary="starter", n_dictionary=3)
    ).candidates
    for candidate in candidates:
        prompt = Prompt(demonstrations=(candidate,))
        whole = encoder.tokenizer([text.join(prompt.parts) for text in texts]).input_ids
        assert [tokens.ids for tokens in tokenize(texts, prompt)] == whole


def test_the_local_labeler_labels_all_sentences() -> None:
    settings = CandidateSettings(
        labeler="local", sentences="starter", n_sentences=8, dictionary="none"
    )
    generated = generate(settings, model=MODEL, device="cpu")
    assert len(generated.candidates) == 8
    assert all(candidate.source == f"local:{MODEL}" for candidate in generated.candidates)
    assert len({candidate.word for candidate in generated.candidates}) >= 6


@pytest.fixture(scope="module")
def small_run(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with few candidates and pairs."""
    folder = tmp_path_factory.mktemp("run")
    starter = read_pairs("starter", Split.DEV)
    dev = Pairs("starter-72", starter.sentences1[:72], starter.sentences2[:72], starter.scores[:72])
    settings = CandidateSettings(labeler="none", dictionary="starter", n_dictionary=6)
    candidates = generate(settings).candidates
    write_candidates(folder / "candidates.jsonl", candidates)
    result = search(encoder, candidates, dev, folder=folder)
    result.file.write(folder / "demonstrations.json")
    return folder


@pytest.fixture(scope="module")
def small_runs(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run twice, the second one with the name of another model."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("smollm2-135m", "opt-350m"):
        shutil.copytree(small_run, folder / name)
        path = folder / name / "demonstrations.json"
        path.write_text(path.read_text().replace('"name": "smollm2-135m"', f'"name": "{name}"'))
    return folder


def test_a_search_is_better_than_the_baseline(small_run: Path) -> None:
    embedder = Embedder.load(small_run / "demonstrations.json", device="cpu")
    dev = DemonstrationsFile.read(small_run / "demonstrations.json").dev
    assert dev.spearman > dev.baseline_spearman
    assert embedder.encode(["A test."]).shape == (1, 576)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_notebooks_can_be_executed_for_a_run(
    small_run: Path, small_runs: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(path, as_version=4)
    monkeypatch.setenv("DEMOSEARCH_RUN", str(small_run))
    monkeypatch.setenv("DEMOSEARCH_RUNS", str(small_runs))
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


# Imports what a command requires, then runs it with limited memory, and again without a limit.
MEMORY = """
import resource, sys
from demosearch.cli.app import main
from demosearch import Embedder
import transformers.models.llama.modeling_llama, psutil

unlimited = resource.getrlimit(resource.RLIMIT_AS)
room = int(sys.argv[1]) << 20
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + room, unlimited[1]))
refused = main(sys.argv[2:])
resource.setrlimit(resource.RLIMIT_AS, unlimited)
print(refused, main(sys.argv[2:]))
"""


@pytest.mark.parametrize("room", [200, 700])
def test_out_of_memory_is_a_one_line_error_and_the_command_can_be_repeated(
    room: int, tmp_path: Path
) -> None:
    """The memory is too small for the weights, or large enough for the weights only."""
    lines = tmp_path / "lines.txt"
    lines.write_text("A cat sleeps.\n" * 10 + "Rain fell on the old town for hours. " * 400)
    words = ["embed", "--model", MODEL, "--precision", "fp32", str(lines), "--quiet"]
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, str(room), *words, "--out", str(tmp_path / "v.npy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.split() == ["2", "0"], result.stderr
    assert "memory" in result.stderr
    assert "Traceback" not in result.stderr
    assert np.load(tmp_path / "v.npy").shape == (11, 576)


@pytest.mark.data
def test_the_plain_prompt_scores_73_8_on_stsb_dev(encoder: Encoder, data: Path) -> None:
    dev = read_pairs("stsb", Split.DEV, str(data))
    (similarities,) = PairEncoder(encoder, dev).similarities(Prompt())
    assert spearman(similarities, dev.scores) == pytest.approx(73.8, abs=0.3)


def test_embed_works_without_the_hub(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("One line\nAnother line\n")
    result = subprocess.run(
        [sys.executable, "-m", "demosearch", "embed", "--model", MODEL, "lines.txt",
         "--out", "v.npy", "--quiet"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert np.load(tmp_path / "v.npy").shape == (2, 576)
