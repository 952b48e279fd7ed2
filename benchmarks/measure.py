"""Helpers of the benchmarks: medians, gains, tables, a description of the machine, stored arrays, pairs."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from demosearch import Encoder, Prompt
from demosearch._common.files import atomic_write
from demosearch.datasets import Pairs
from demosearch.datasets.sources import DATA_VARIABLE, HUB
from demosearch.demonstration import Demonstration
from demosearch.encoder.batching import shared_prefix
from demosearch.encoder.tokens import PromptTokenizer
from demosearch.metrics.bootstrap import bootstrap_differences, interval
from demosearch.metrics.correlation import rank_correlation
from demosearch.selection.rungs import spread_order

PROMPT = Prompt(
    demonstrations=(Demonstration(sentence="A jockey riding a horse.", word="Equestrian"),)
)


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add `--data`; its default is the environment variable DEMOSEARCH_DATA."""
    parser.add_argument(
        "--data",
        # argparse checks a default that is a text, too.
        default=os.environ.get(DATA_VARIABLE, ""),
        type=_data_folder,
        help=f"data folder; default: the environment variable {DATA_VARIABLE}",
    )


def _data_folder(value: str) -> str:
    if value != HUB and not (value and Path(value).is_dir()):
        raise argparse.ArgumentTypeError(
            f"must be an existing data folder but got '{value}'; use --data or set {DATA_VARIABLE}"
        )
    return value


def medians(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each side's runs; the sides take turns, so that noise affects all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def median(seconds: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(seconds)


def show(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def machine() -> str:
    """Return the machine and the versions in one line."""
    import transformers

    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f"{platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()}"
        abilities = torch.cpu.get_capabilities()
        fast = [name for name in ("amx_bf16", "avx512_bf16", "avx512_vnni") if abilities.get(name)]
        device += f" ({', '.join(fast) or 'no bfloat16 instructions'})"
    return f"{device}; torch {torch.__version__}, transformers {transformers.__version__}"


def product_rate(model: torch.nn.Module, tokens: int, repeats: int = 5) -> float:
    """Return the rate of the matrix products of one forward pass alone, in FLOP/s.

    Each linear layer multiplies one row per token of a batch, in the model's own type.
    """
    layers = [each for each in model.modules() if isinstance(each, torch.nn.Linear)]
    shapes = {(each.in_features, each.out_features, each.weight.dtype) for each in layers}
    count = {
        shape: sum(
            (each.in_features, each.out_features, each.weight.dtype) == shape for each in layers
        )
        for shape in shapes
    }
    device = next(model.parameters()).device
    total = flops = 0.0
    with torch.inference_mode():
        for shape, number in count.items():
            width, height, dtype = shape
            rows = torch.randn(tokens, width, device=device).to(dtype)
            # As many different weights as the model has, so that none is in the processor's cache.
            weights = [
                torch.randn(height, width, device=device).to(dtype) for _ in range(min(number, 16))
            ]
            sides = {
                "products": lambda w=weights, r=rows: [
                    torch.nn.functional.linear(r, each) for each in w
                ]
            }
            medians(sides, 2)
            each = median(medians(sides, repeats)["products"]) / len(weights)
            total += each * number
            flops += 2 * tokens * width * height * number
    return flops / total


def arithmetic_floor(
    encoder: Encoder, texts: Sequence[str], prompt: Prompt
) -> tuple[int, float, float]:
    """Return the minimum time of encoding texts.

    Returns:
        The number of tokens after the shared prefix in all distinct sentences, the rate of the model's
        matrix products alone in FLOP/s, and the seconds that these tokens take at that rate.
    """
    distinct = list(dict.fromkeys(prompt.prepare(text) for text in texts))
    rows = PromptTokenizer(encoder.tokenizer, encoder.max_tokens)(distinct, prompt)
    shared = shared_prefix([row.ids[:-1] for row in rows])
    tokens = sum(len(row.ids) - len(shared) for row in rows)
    multiplying = sum(
        each.weight.numel() for each in encoder.model.modules() if isinstance(each, torch.nn.Linear)
    )
    rate = product_rate(encoder.model, encoder.token_budget)
    return tokens, rate, tokens * 2 * multiplying / rate


def kept(path: Path, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the array in a file; if the file is missing, compute and write it first."""
    if not path.exists():
        array = make()
        with atomic_write(path, "wb") as file:
            np.save(file, array)
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)


def part(pairs: Pairs, rows: Sequence[int] | NDArray[np.intp]) -> Pairs:
    """Return the pairs with these indices."""
    return Pairs(
        pairs.name,
        tuple(pairs.sentences1[row] for row in rows),
        tuple(pairs.sentences2[row] for row in rows),
        tuple(pairs.scores[row] for row in rows),
    )


def gold_order(scores: Sequence[float], seed: int) -> NDArray[np.intp]:
    """Return an order of pairs of which every prefix is spread over the gold scores."""
    noise = np.random.default_rng(seed).random(len(scores)).astype(np.float32)
    return spread_order(scores, noise, seed)


def spread(pairs: Pairs, number: int) -> Pairs:
    """Return some of the pairs, or all, spread over the gold scores, in their own order."""
    return part(pairs, sorted(gold_order(pairs.scores, seed=0)[:number]))


def scored(ours: NDArray[np.float32], plain: NDArray[np.float32], pairs: Pairs) -> tuple[str, str]:
    """Return a score, and its gain over another one with the 95% interval, as text."""
    gold = np.array(pairs.scores)
    score = float(rank_correlation(ours, gold))
    if np.array_equal(ours, plain):
        return f"{score:.2f}", ""
    low, high = interval(bootstrap_differences(ours, [plain], gold, rank_correlation, seed=0)[0])
    gain = score - float(rank_correlation(plain, gold))
    return f"{score:.2f}", f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]"
