"""Scores on STS-B by template, demonstrations and layer, and the gain of each combination.

    python benchmarks/templates.py best.json [--data DATA] [--templates prompteol,knowledge]

The data folder defaults to the environment variable DEMOSEARCH_DATA. Each template is scored with and
without the file's demonstrations at all layers, in one pass. The layer of a row is chosen on dev, and test
is scored at that layer. Gains are over the first template without demonstrations at the last layer, with
95% intervals by paired bootstrap over the pairs. Re-run the command to resume: similarities are stored in
--folder.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from measure import add_data_option, kept, scored, show
from numpy.typing import NDArray

from demosearch import Encoder, Prompt
from demosearch.datasets import Split, read_pairs
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.metrics.correlation import rank_correlation
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.templates import find_template


def main() -> None:
    """Score what is not stored yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demonstrations", type=Path)
    add_data_option(parser)
    parser.add_argument("--templates", default="prompteol,pretended-cot,knowledge")
    parser.add_argument("--folder", type=Path, default=Path("runs/templates"))
    arguments = parser.parse_args()

    file = DemonstrationsFile.read(arguments.demonstrations)
    best = tuple(file.prompts[0].demonstrations)
    encoder = Encoder.load(file.model.name, precision=file.model.precision)
    sets = {split: read_pairs("stsb", split, arguments.data) for split in (Split.DEV, Split.TEST)}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in arguments.templates.split(","):
        for label, demonstrations in (("no", ()), ("yes", best)):
            prompt = Prompt(template=find_template(name), demonstrations=demonstrations)
            rows[name, label] = {
                split: similarities(PairEncoder(encoder, pairs), prompt, arguments.folder)
                for split, pairs in sets.items()
            }
    baseline = next(iter(rows.values()))
    table = []
    for (name, label), cosines in rows.items():
        dev = rank_correlation(cosines[Split.DEV], np.array(sets[Split.DEV].scores))
        for layer in dict.fromkeys((encoder.layers, int(np.nanargmax(dev)))):
            cells = [
                scored(cosines[split][layer], baseline[split][-1], pairs)
                for split, pairs in sets.items()
            ]
            table.append([name, label, layer, *(cell for pair in cells for cell in pair)])
    header = [f"{split} {value}" for split in sets for value in ("score", "gain")]
    show(["template", "demonstration", "layer", *header], table)


def similarities(pair_encoder: PairEncoder, prompt: Prompt, folder: Path) -> NDArray[np.float32]:
    """Return the cosines of all pairs at all layers, (layers, pairs), from a file if it exists."""
    layers = list(range(pair_encoder.encoder.layers + 1))
    return kept(
        folder / f"{pair_encoder.cache_key([prompt])}.npy",
        partial(pair_encoder.similarities, prompt, layers=layers),
    )


if __name__ == "__main__":
    main()
