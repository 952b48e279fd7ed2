"""Time per sentence of each kind of system that `demosearch evaluate` supports.

    python benchmarks/systems.py best.json [--data SentEval/data] [--sentences 400] [--repeats 3]

The data folder defaults to the environment variable DEMOSEARCH_DATA. The sentences are a random sample
from the available STS tasks. The systems take turns. The table shows medians, and their ratios to the
prompt without demonstrations. The classifiers of the transfer tasks are not included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from measure import add_data_option, machine, median, medians, show

from demosearch import Embedder, Prompt
from demosearch.evaluation import find_tasks, read_tasks
from demosearch.evaluation.baselines import open_baseline
from demosearch.templates import find_template

SEED = 0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demonstrations", type=Path)
    add_data_option(parser)
    parser.add_argument("--reference", default="all-minilm-l6-v2", help="a trained encoder")
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    texts = sample(arguments.data, arguments.sentences)
    best = Embedder.load(arguments.demonstrations)

    def under(*prompts: Prompt) -> Callable[[list[str]], object]:
        return Embedder(best.encoder, prompts).encode

    systems: dict[str, Callable[[list[str]], object]] = {
        "no demonstrations, last layer": under(Prompt()),
        "best demonstration, last layer": under(
            *(replace(prompt, layer=None) for prompt in best.prompts)
        ),
        f"best demonstration, layer {best.prompts[0].layer}": best.encode,
        "mean pooling, last layer": under(Prompt(find_template("mean"))),
        arguments.reference: open_baseline(arguments.reference).encode,
    }
    for encode in systems.values():
        encode(texts[:20])
    sides: dict[str, Callable[[], object]] = {
        name: partial(encode, texts) for name, encode in systems.items()
    }
    seconds = {name: median(runs) for name, runs in medians(sides, arguments.repeats).items()}
    unit = next(iter(seconds.values()))
    print(machine(), f"\n{len(texts)} sentences, median of {arguments.repeats}\n")
    show(
        ("system", "ms per sentence", "ratio"),
        [
            (name, f"{1000 * time / len(texts):.1f}", f"{time / unit:.2f}")
            for name, time in seconds.items()
        ],
    )


def sample(folder: str, number: int) -> list[str]:
    """Return distinct sentences of the STS tasks."""
    data = read_tasks(find_tasks("sts"), folder).values()
    subsets = [pairs for task in data if isinstance(task, list) for pairs in task]
    sentences = list(dict.fromkeys(text for pairs in subsets for text in pairs.sentences()))
    chosen = np.random.default_rng(SEED).permutation(len(sentences))[:number]
    return [sentences[row] for row in chosen]


if __name__ == "__main__":
    main()
