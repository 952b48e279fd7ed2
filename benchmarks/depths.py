"""Cuts the packaged model after some of its layers, to obtain models of several sizes.

    python benchmarks/depths.py 10 20 22 24 26 28 --out models
    demosearch candidates --model smollm2-135m --labeler local --sentences stsb-train --dictionary wordnet \
        --exclude stsb --data DATA --out candidates.jsonl
    demosearch run --model models/first-* smollm2-135m --candidates candidates.jsonl --data DATA \
        --out runs/depths

`run` searches for each of them with the same candidates, as in the paper; `notebooks/model_size.ipynb` draws
the results. The final norm is kept. A shortened model was never trained to end at its last layer, so these
models are not a family of sizes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from transformers import AutoModel, AutoTokenizer

from demosearch._common.progress import quiet_transformers
from demosearch.models.choice import automatic_precision
from demosearch.models.known import resolve
from demosearch.models.precision import dtype_of
from demosearch.models.source import weights_path


def main() -> None:
    """Save a folder for each depth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="+", type=int)
    parser.add_argument("--out", type=Path, default=Path("models"))
    arguments = parser.parse_args()

    source = resolve("smollm2-135m")
    dtype = dtype_of(automatic_precision(source, "cpu"), "cpu")
    path, _ = weights_path(source, dtype)
    tokenizer = AutoTokenizer.from_pretrained(path)
    for depth in arguments.layers:
        folder = arguments.out / f"first-{depth}"
        # transformers reports the weights that it leaves out.
        with quiet_transformers():
            model = AutoModel.from_pretrained(path, num_hidden_layers=depth, dtype=dtype)
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        print(folder)


if __name__ == "__main__":
    main()
