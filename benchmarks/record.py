"""Record what every candidate makes of every dev pair, so that strategies can be replayed in seconds.

    python benchmarks/record.py candidates.jsonl --data ../shared/data [--number 100] [--share 1/2]

Scores candidates exhaustively at the last layers, which takes hours on two cores: it may be killed and
started again, and several shares may run side by side into one folder. What is recorded is cosines
(float16), ids and the numbers that are known of a candidate before any search: no text, no gold score.
Once all are there, they are put together in --out, which `recorded.py` reads.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from recorded import FEATURES, Recorded

from demosearch import Encoder, Prompt
from demosearch._common.files import atomic_write
from demosearch._common.progress import bar
from demosearch.candidates import read_candidates
from demosearch.candidates.file import Candidate
from demosearch.datasets import Pairs, Split, read_pairs
from demosearch.selection.configurations import BASELINE
from demosearch.selection.pair_encoder import PairEncoder


def main() -> None:
    """Record, and put together what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("candidates", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dev", default="stsb")
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--number", type=int, default=100, help="candidates, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--last-layers", type=int, default=4)
    parser.add_argument("--share", default="1/1", help="K/N: every Nth candidate, from the Kth")
    parser.add_argument("--folder", type=Path, default=Path("runs/record"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/recorded/smollm2-135m.npz"))
    arguments = parser.parse_args()

    pairs = read_pairs(arguments.dev, Split.DEV, arguments.data)
    kept = sample(read_candidates(arguments.candidates), arguments.number, arguments.seed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    share, shares = map(int, arguments.share.split("/"))
    everything = (None, *kept)
    waiting = [
        one
        for one in everything[share - 1 :: shares]
        if not recorded_at(arguments.folder, one).exists()
    ]
    if waiting:
        encoder = Encoder.load(arguments.model)
        layers = list(range(encoder.layers + 1))[-arguments.last_layers :]
        with bar("recording", len(waiting), show=True) as progress:
            for one in waiting:
                record(encoder, pairs, one, layers, recorded_at(arguments.folder, one))
                progress.advance(1)
    if all(recorded_at(arguments.folder, one).exists() for one in everything):
        together(arguments.folder, kept, pairs).save(arguments.out)
        print(f"recorded: {arguments.out}")


def sample(candidates: list[Candidate], number: int, seed: int) -> list[Candidate]:
    """Return so many candidates in a random order, of every source its part of the whole."""
    table = pd.DataFrame({"source": [one.source for one in candidates]})
    part = min(1.0, number / len(candidates))
    drawn = table.groupby("source").sample(frac=part, random_state=seed)
    return [candidates[row] for row in drawn.sample(frac=1, random_state=seed).index]


def record(
    encoder: Encoder, pairs: Pairs, candidate: Candidate | None, layers: list[int], path: Path
) -> None:
    """Write the cosines of all pairs at all layers, float16 (layers, pairs), and what they took."""
    started = time.monotonic()
    prompt = Prompt(demonstrations=() if candidate is None else (candidate,))
    cosines = PairEncoder(encoder, pairs).similarities(prompt, layers=layers)
    with atomic_write(path, "wb") as file:
        np.savez(
            file,
            cosines=cosines.astype(np.float16),
            layers=np.array(layers),
            seconds=time.monotonic() - started,
        )


def recorded_at(folder: Path, candidate: Candidate | None) -> Path:
    """Return where a candidate's cosines are kept; None is the prompt without demonstration."""
    return folder / f"{candidate.id if candidate else BASELINE}.npz"


def together(folder: Path, kept: list[Candidate], pairs: Pairs) -> Recorded:
    """Return all that was recorded as one value."""
    files = [np.load(recorded_at(folder, one), allow_pickle=False) for one in (None, *kept)]
    table = pd.DataFrame([one.model_dump() for one in kept])
    return Recorded(
        dev_sha256=pairs.sha256,
        layers=files[0]["layers"],
        baseline=files[0]["cosines"],
        cosines=np.stack([each["cosines"] for each in files[1:]]),
        ids=np.array([one.id for one in kept]),
        sources=np.array([one.source for one in kept]),
        features=table.reindex(columns=FEATURES).astype(float).to_numpy(),
        seconds=np.array([float(each["seconds"]) for each in files[1:]]),
    )


if __name__ == "__main__":
    main()
