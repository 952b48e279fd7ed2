"""How far the reported gains are from the truth: as measured, and corrected for the choice.

    python benchmarks/honesty.py [--data ../shared/data] [--seeds 50] [--pairs 100 300 750]

Some pairs of the recorded dev set choose the best of the recorded candidates and layers, as a search
does, and report its gain over the prompt without demonstration; the pairs that are left say what it is
worth, as they had no part in the choice. A bias is the mean over the seeds of what is reported less that,
an error its mean size. The pairs that are left err, too, so no error can be zero.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure import part, show
from numpy.typing import NDArray
from recorded import Recorded

from demosearch.datasets import Pairs
from demosearch.metrics.correlation import spearman
from demosearch.selection.objective import Objective


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", type=Path, default=Path(__file__).parent / "recorded")
    parser.add_argument("--dev", default="stsb")
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100, 300, 750])
    arguments = parser.parse_args()

    recorded = Recorded.load(arguments.recorded / "smollm2-135m.npz")
    dev = recorded.pairs(arguments.dev, arguments.data)
    systems = recorded.cosines.astype(np.float32).reshape(-1, len(dev))
    baseline = recorded.baseline[-1].astype(np.float32)
    rows = []
    for number in arguments.pairs:
        found = np.array(
            [reported(systems, baseline, dev, number, seed) for seed in range(arguments.seeds)]
        )
        truth = found[:, 0]
        cells = [
            cell
            for each in found[:, 1:].T
            for cell in (f"{np.mean(each - truth):+.2f}", f"{np.mean(abs(each - truth)):.2f}")
        ]
        rows.append([number, f"{truth.mean():.2f}", *cells])
    print(f"{len(systems)} candidates and layers, {arguments.seeds} seeds\n")
    header = ("pairs", "true gain", "gain: bias", "error", "corrected: bias", "error")
    show(header, rows)


def reported(
    systems: NDArray[np.float32], baseline: NDArray[np.float32], dev: Pairs, number: int, seed: int
) -> tuple[float, float, float]:
    """Return the true gain of what some pairs choose, their gain of it, and the corrected one."""
    order = np.random.default_rng(seed).permutation(len(dev))
    chosen, left = order[:number], order[number:]
    objective = Objective(part(dev, chosen), seed=seed)
    seen = systems[:, chosen]
    best = int(np.argmax(objective.score(seen)))
    gain = float(objective.score(seen[best]) - objective.score(baseline[chosen]))
    corrected, _ = objective.split_estimate(objective.best_of(seen), baseline[chosen])
    scores = part(dev, left).scores
    truth = spearman(systems[best, left], scores) - spearman(baseline[left], scores)
    return truth, gain, corrected


if __name__ == "__main__":
    main()
