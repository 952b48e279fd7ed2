"""Demonstration x template x layer on STS-B: what each gives, and what they give together.

    python benchmarks/templates.py best.json --data ../shared/data [--templates prompteol,knowledge]

Scores every template with and without the file's demonstrations at all layers, one pass each. A row's
layer is chosen on dev; test is scored there. Gains are over the first template without demonstration
at the last layer, with 95% intervals by paired bootstrap over the pairs. It can be killed and started
again: similarities are kept in --folder.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from measure import kept, scored, show
from numpy.typing import NDArray

from demosearch import Encoder, Prompt
from demosearch.datasets import Split, read_pairs
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.metrics.correlation import rank_correlation
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.templates import find_template


def main() -> None:
    """Score what is not kept yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demonstrations", type=Path)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--templates", default="prompteol,pretended-cot,knowledge")
    parser.add_argument("--folder", type=Path, default=Path("runs/templates"))
    arguments = parser.parse_args()

    found = DemonstrationsFile.read(arguments.demonstrations)
    best = tuple(found.prompts[0].demonstrations)
    encoder = Encoder.load(found.model.name, precision=found.model.precision)
    sets = {split: read_pairs("stsb", split, arguments.data) for split in (Split.DEV, Split.TEST)}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in arguments.templates.split(","):
        for label, shown in (("no", ()), ("yes", best)):
            tried = Prompt(template=find_template(name), demonstrations=shown)
            rows[name, label] = {
                split: similarities(PairEncoder(encoder, pairs), tried, arguments.folder)
                for split, pairs in sets.items()
            }
    plain = next(iter(rows.values()))
    table = []
    for (name, label), found_at in rows.items():
        dev = rank_correlation(found_at[Split.DEV], np.array(sets[Split.DEV].scores))
        for layer in dict.fromkeys((encoder.layers, int(np.nanargmax(dev)))):
            cells = [
                scored(found_at[split][layer], plain[split][-1], pairs)
                for split, pairs in sets.items()
            ]
            table.append([name, label, layer, *(cell for pair in cells for cell in pair)])
    header = [f"{split} {what}" for split in sets for what in ("score", "gain")]
    show(["template", "demonstration", "layer", *header], table)


def similarities(pair_encoder: PairEncoder, prompt: Prompt, folder: Path) -> NDArray[np.float32]:
    """Return the cosines of all pairs at all layers, (layers, pairs), from a file if it is there."""
    layers = list(range(pair_encoder.encoder.layers + 1))
    return kept(
        folder / f"{pair_encoder.cache_key([prompt])}.npy",
        partial(pair_encoder.similarities, prompt, layers=layers),
    )


if __name__ == "__main__":
    main()
