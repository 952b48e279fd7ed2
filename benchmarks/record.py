"""Record the cosines of all candidates on all dev pairs, so that strategies can be replayed in seconds.

    python benchmarks/record.py candidates.jsonl [--data DATA] [--number 100] [--share 1/2]

The data folder defaults to the environment variable DEMOSEARCH_DATA. Candidates are scored exhaustively at
the last layers, which takes hours on two cores. Re-run the command to resume; several shares may run at the
same time with the same folder. The record contains cosines (float16), ids and the candidates' quality
scores, but no text and no gold score. When all candidates are recorded, they are joined in --out, which
`recorded.py` reads.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from measure import add_data_option
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
    """Record the candidates of a share, and join all of them if they are complete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("candidates", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dev", default="stsb")
    add_data_option(parser)
    parser.add_argument(
        "--number", type=int, default=100, help="number of candidates, sampled with --seed"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--last-layers", type=int, default=4)
    parser.add_argument(
        "--share", default="1/1", help="K/N: every Nth candidate, starting at the Kth"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/record"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/recorded/smollm2-135m.npz"))
    arguments = parser.parse_args()

    pairs = read_pairs(arguments.dev, Split.DEV, arguments.data)
    kept = sample(read_candidates(arguments.candidates), arguments.number, arguments.seed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    share, shares = map(int, arguments.share.split("/"))
    everything = (None, *kept)
    waiting = [
        candidate
        for candidate in everything[share - 1 :: shares]
        if not path_of(arguments.folder, candidate).exists()
    ]
    if waiting:
        encoder = Encoder.load(arguments.model)
        layers = list(range(encoder.layers + 1))[-arguments.last_layers :]
        with bar("recording", len(waiting), show=True) as progress:
            for candidate in waiting:
                path = path_of(arguments.folder, candidate)
                record(encoder, pairs, candidate, layers, path)
                progress.advance(1)
    if all(path_of(arguments.folder, candidate).exists() for candidate in everything):
        joined(arguments.folder, kept, pairs).save(arguments.out)
        print(f"recorded: {arguments.out}")


def sample(candidates: list[Candidate], number: int, seed: int) -> list[Candidate]:
    """Return a random sample of candidates in random order, with the same share of each source."""
    table = pd.DataFrame({"source": [candidate.source for candidate in candidates]})
    share = min(1.0, number / len(candidates))
    sampled = table.groupby("source").sample(frac=share, random_state=seed)
    return [candidates[row] for row in sampled.sample(frac=1, random_state=seed).index]


def record(
    encoder: Encoder, pairs: Pairs, candidate: Candidate | None, layers: list[int], path: Path
) -> None:
    """Write the cosines of all pairs at all layers, float16 (layers, pairs), and the seconds."""
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


def path_of(folder: Path, candidate: Candidate | None) -> Path:
    """Return the file of a candidate's cosines; None means the baseline."""
    return folder / f"{candidate.id if candidate else BASELINE}.npz"


def joined(folder: Path, kept: list[Candidate], pairs: Pairs) -> Recorded:
    """Return the records of all candidates as one value."""
    files = [np.load(path_of(folder, candidate), allow_pickle=False) for candidate in (None, *kept)]
    table = pd.DataFrame([candidate.model_dump() for candidate in kept])
    return Recorded(
        dev_sha256=pairs.sha256,
        layers=files[0]["layers"],
        baseline=files[0]["cosines"],
        cosines=np.stack([file["cosines"] for file in files[1:]]),
        ids=np.array([candidate.id for candidate in kept]),
        sources=np.array([candidate.source for candidate in kept]),
        features=table.reindex(columns=FEATURES).astype(float).to_numpy(),
        seconds=np.array([float(file["seconds"]) for file in files[1:]]),
    )


if __name__ == "__main__":
    main()
