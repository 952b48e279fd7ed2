"""One candidate over STS-B dev: this encoder, the reference implementation's way, and sentence-transformers.

    python benchmarks/encoder.py --data ../shared/data [--pairs 1500] [--precision fp32] [--repeats 3]

All sides get the same sentences under the same demonstration and take turns in one session; medians are
printed, and the farthest that any sentence's embedding is from ours. The last column is the share of the
machine's matrix product rate that is used for tokens that have to be run: those of the distinct
sentences and of the words behind them, times two, times the parameters that multiply.
"""

from __future__ import annotations

import argparse
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
from demosearch.models.known import Precision, resolve
from demosearch.models.loading import default_device, default_precision, dtype_of, weights_place
from demosearch.models.transformer_module import pad, transformer_module


def main() -> None:
    """Objective and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--pairs", type=int, default=1500, help="number of STS-B dev pairs")
    parser.add_argument(
        "--precision", choices=["fp32", "bf16", "fp16"], help="default: fastest here"
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
    precision = Precision(arguments.precision or default_precision(device))
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
    """Compare ways of encoding one candidate."""
    floats = dict.fromkeys((precision, Precision.FP32))
    sides: dict[str, Callable[[], np.ndarray]] = {
        f"demosearch, {precision}": lambda: encoder.encode(texts, PROMPT)
    }
    for each in floats:
        model, tokenizer = causal(name, each, device)
        sides[f"reference way, {each}"] = lambda m=model, t=tokenizer: reference(m, t, texts)
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
            "times ours",
            "largest distance (1 - cosine)",
            "share of the products' rate",
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
        f"{tokens} tokens have to be run; matrix products alone: {rate / 1e9:.0f} GFLOP/s,"
        f" {floor:.1f} s\n"
    )


def layers(encoder: Encoder, texts: Sequence[str], repeats: int) -> None:
    """Compare one layer, an early one, and all layers of one pass."""
    half, late = encoder.layers // 2, encoder.layers - 2
    sides: dict[str, Callable[[], object]] = {
        "last layer": lambda: encoder.encode(texts, PROMPT),
        "all layers of one pass": lambda: encoder.encode_layers(texts, PROMPT),
        f"layer {late} of {encoder.layers}": lambda: encoder.encode_layers(texts, PROMPT, [late]),
        f"layer {half} of {encoder.layers}": lambda: encoder.encode_layers(texts, PROMPT, [half]),
    }
    seconds = medians(sides, repeats)
    base = median(seconds["last layer"])
    show(
        ("layer", "seconds", "of the last layer's"),
        [
            (key, f"{median(each):.1f}", f"{median(each) / base:.2f}")
            for key, each in seconds.items()
        ],
    )


def changes(encoder: Encoder, texts: Sequence[str], repeats: int) -> None:
    """Take away one thing at a time."""
    found = encoder.token_budget

    def with_budget(budget: int) -> None:
        encoder.token_budget = budget
        encoder.encode(texts, PROMPT)
        encoder.token_budget = found

    def without_prefix() -> None:
        with mock.patch("demosearch.encoder.encoder.shared_prefix", return_value=[]):
            encoder.encode(texts, PROMPT)

    def tokenized_anew() -> None:
        encoder._tokenize = PromptTokenizer(encoder.tokenizer, encoder.max_tokens)
        encoder.encode(texts, PROMPT)

    sides: dict[str, Callable[[], object]] = {
        f"as it is ({found} tokens a pass)": lambda: encoder.encode(texts, PROMPT),
        "without the shared prefix": without_prefix,
        "sentences tokenized anew": tokenized_anew,
        f"{found // 4} tokens a pass": lambda: with_budget(found // 4),
        f"{found * 4} tokens a pass": lambda: with_budget(found * 4),
    }
    seconds = medians(sides, repeats)
    base = median(next(iter(seconds.values())))
    show(
        ("change", "seconds", "times as it is"),
        [
            (key, f"{median(each):.1f}", f"{median(each) / base:.2f}")
            for key, each in seconds.items()
        ],
    )


def causal(
    name: str, precision: Precision, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model with its head, padded at the left with token 0 as the reference pads."""
    dtype = dtype_of(precision, device)
    place, _ = weights_place(resolve(name), dtype)
    tokenizer = AutoTokenizer.from_pretrained(place, padding_side="left")
    tokenizer.pad_token_id = 0
    model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype).to(device).eval()
    return model, tokenizer


def reference(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> np.ndarray:
    """Encode in the reference's way: head and all states, 32 at a time as they come, nothing kept."""
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
    place, _ = weights_place(resolve(name), dtype)
    transformer = transformer_module(place, {"dtype": dtype})
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
