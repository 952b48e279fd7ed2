"""Time of one candidate on STS-B dev: this encoder, the reference implementation, sentence-transformers.

    python benchmarks/encoder.py [--data DATA] [--pairs 1500] [--precision fp32] [--repeats 3]

The data folder defaults to the environment variable DEMOSEARCH_DATA. All implementations encode the same
sentences under the same demonstration and take turns in one session. The table shows medians, and the
largest distance between an embedding and ours. The last column is the time that the necessary matrix
products take at the machine's full rate, as a share of the measured time. Necessary are the tokens of the
distinct sentences and of the words behind them, times two, times the parameters that multiply.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
import torch
from measure import PROMPT, arithmetic_floor, gold_order, machine, median, medians, show
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from demosearch import Encoder
from demosearch.datasets import Split, read_pairs
from demosearch.encoder.tokens import PromptTokenizer
from demosearch.models.choice import automatic_precision
from demosearch.models.known import resolve
from demosearch.models.precision import Precision, default_device, dtype_of
from demosearch.models.source import weights_path
from demosearch.models.transformer_module import pad, transformer_module


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", default=os.environ.get("DEMOSEARCH_DATA"))
    parser.add_argument("--pairs", type=int, default=1500, help="number of STS-B dev pairs")
    parser.add_argument(
        "--precision", choices=["fp32", "bf16", "fp16"], help="default: the fastest on this device"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--tables",
        nargs="+",
        choices=["candidate", "layers", "changes"],
        default=["candidate", "layers", "changes"],
    )
    arguments = parser.parse_args()

    device = default_device()
    precision = Precision(
        arguments.precision or automatic_precision(resolve(arguments.model), device)
    )
    dev = read_pairs("stsb", Split.DEV, arguments.data)
    chosen = gold_order(dev.scores, 0)[: arguments.pairs]
    # In the order of the file, as the reference takes them: all first sentences, then all second.
    rows = sorted(int(row) for row in chosen)
    texts = [dev.sentences1[row] for row in rows] + [dev.sentences2[row] for row in rows]
    encoder = Encoder.load(arguments.model, precision=precision, device=device)
    print(f"{arguments.model}, {precision}, {len(texts)} sentences; {machine()}\n")
    if "candidate" in arguments.tables:
        candidates(encoder, arguments.model, precision, device, texts, arguments.repeats)
    if "layers" in arguments.tables:
        layers(encoder, texts, arguments.repeats)
    if "changes" in arguments.tables:
        changes(encoder, texts, arguments.repeats)


def candidates(
    encoder: Encoder,
    name: str,
    precision: Precision,
    device: str,
    texts: Sequence[str],
    repeats: int,
) -> None:
    """Compare implementations on one candidate."""
    sides: dict[str, Callable[[], np.ndarray]] = {
        f"demosearch, {precision}": lambda: encoder.encode(texts, PROMPT)
    }
    for reference_precision in dict.fromkeys((precision, Precision.FP32)):
        model, tokenizer = causal(name, reference_precision, device)
        sides[f"reference implementation, {reference_precision}"] = lambda m=model, t=tokenizer: (
            reference(m, t, texts)
        )
    student = sentence_transformer(name, precision, device)
    rendered = [PROMPT.render(text) for text in texts]
    sides[f"sentence-transformers, {precision}"] = lambda: student.encode(rendered, batch_size=32)

    states = {key: run() for key, run in sides.items()}
    ours = states[next(iter(sides))]
    seconds = medians(sides, repeats)
    best = median(seconds[next(iter(sides))])
    tokens, rate, floor = arithmetic_floor(encoder, texts, PROMPT)
    show(
        (
            "one candidate",
            "seconds",
            "ratio",
            "largest distance (1 - cosine)",
            "share of necessary products",
        ),
        [
            (
                key,
                f"{median(seconds[key]):.1f}",
                f"{median(seconds[key]) / best:.2f}",
                f"{distance(ours, states[key]):.1e}",
                f"{floor / median(seconds[key]):.0%}" if str(precision) in key else "",
            )
            for key in sides
        ],
    )
    print(
        f"{tokens} necessary tokens; matrix products alone: {rate / 1e9:.0f} GFLOP/s,"
        f" {floor:.1f} s\n"
    )


def layers(encoder: Encoder, texts: Sequence[str], repeats: int) -> None:
    """Compare the last layer, earlier layers, and all layers in one pass."""
    half, late = encoder.layers // 2, encoder.layers - 2
    sides: dict[str, Callable[[], object]] = {
        "last layer": lambda: encoder.encode(texts, PROMPT),
        "all layers in one pass": lambda: encoder.encode_layers(texts, PROMPT),
        f"layer {late} of {encoder.layers}": lambda: encoder.encode_layers(texts, PROMPT, [late]),
        f"layer {half} of {encoder.layers}": lambda: encoder.encode_layers(texts, PROMPT, [half]),
    }
    seconds = medians(sides, repeats)
    base = median(seconds["last layer"])
    show(
        ("layer", "seconds", "ratio to the last layer"),
        [
            (key, f"{median(runs):.1f}", f"{median(runs) / base:.2f}")
            for key, runs in seconds.items()
        ],
    )


def changes(encoder: Encoder, texts: Sequence[str], repeats: int) -> None:
    """Disable one optimization at a time."""
    default_budget = encoder.token_budget

    def with_budget(budget: int) -> None:
        encoder.token_budget = budget
        encoder.encode(texts, PROMPT)
        encoder.token_budget = default_budget

    def without_prefix() -> None:
        with mock.patch("demosearch.encoder.batching.shared_prefix", return_value=[]):
            encoder.encode(texts, PROMPT)

    def without_token_cache() -> None:
        encoder._tokenize = PromptTokenizer(encoder.tokenizer, encoder.max_tokens)
        encoder.encode(texts, PROMPT)

    sides: dict[str, Callable[[], object]] = {
        f"none ({default_budget} tokens per pass)": lambda: encoder.encode(texts, PROMPT),
        "without the shared prefix": without_prefix,
        "without the token cache": without_token_cache,
        f"{default_budget // 4} tokens per pass": lambda: with_budget(default_budget // 4),
        f"{default_budget * 4} tokens per pass": lambda: with_budget(default_budget * 4),
    }
    seconds = medians(sides, repeats)
    base = median(next(iter(seconds.values())))
    show(
        ("change", "seconds", "ratio"),
        [
            (key, f"{median(runs):.1f}", f"{median(runs) / base:.2f}")
            for key, runs in seconds.items()
        ],
    )


def causal(
    name: str, precision: Precision, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model with its head, padded on the left with token 0 as in the reference implementation."""
    dtype = dtype_of(precision, device)
    path, _ = weights_path(resolve(name), dtype)
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    tokenizer.pad_token_id = 0
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).to(device).eval()
    return model, tokenizer


def reference(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> np.ndarray:
    """Encode as the reference implementation: head and all states, 32 prompts at a time, no cache."""
    states = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            prompts = [PROMPT.render(text) for text in texts[start : start + 32]]
            inputs = tokenizer(
                prompts, return_tensors="pt", padding=True, return_token_type_ids=False
            ).to(model.device)
            output = model(**inputs, output_hidden_states=True)
            states.append(output.hidden_states[-1][:, -1].float().cpu())
    return torch.cat(states).numpy()


def sentence_transformer(name: str, precision: Precision, device: str) -> object:
    """Load the model into sentence-transformers with last-token pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    dtype = dtype_of(precision, device)
    path, _ = weights_path(resolve(name), dtype)
    transformer = transformer_module(path, {"dtype": dtype})
    pad(transformer, "left")
    pooling = Pooling(transformer.get_embedding_dimension(), "lasttoken")
    return SentenceTransformer(modules=[transformer, pooling], device=device)


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest 1 - cosine over the rows."""
    theirs = np.asarray(theirs, dtype=np.float64)
    product = (ours * theirs).sum(1)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float((1 - product / norms).max())


if __name__ == "__main__":
    main()
