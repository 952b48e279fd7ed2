"""Bias and error of reported gains: as measured, and corrected for the selection.

    python benchmarks/honesty.py [--data DATA] [--seeds 50] [--pairs 100 300 750]

The data folder defaults to the environment variable DEMOSEARCH_DATA. A sample of the recorded dev pairs
chooses the best of the recorded candidates and layers, as a search does, and its gain over the baseline is
reported. The remaining pairs, which took no part in the selection, measure the true gain. The bias is the
mean over the seeds of the reported minus the true gain, and the error is the mean absolute difference. The
true gain is measured on a finite number of pairs, so that no error can be zero.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure import add_data_option, part, show
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
    add_data_option(parser)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100, 300, 750])
    arguments = parser.parse_args()

    recorded = Recorded.load(arguments.recorded / "smollm2-135m.npz")
    dev = recorded.pairs(arguments.dev, arguments.data)
    systems = recorded.cosines.astype(np.float32).reshape(-1, len(dev))
    baseline = recorded.baseline[-1].astype(np.float32)
    rows = []
    for number in arguments.pairs:
        gains = np.array(
            [reported(systems, baseline, dev, number, seed) for seed in range(arguments.seeds)]
        )
        truth = gains[:, 0]
        cells = [
            cell
            for estimate in gains[:, 1:].T
            for cell in (
                f"{np.mean(estimate - truth):+.2f}",
                f"{np.mean(abs(estimate - truth)):.2f}",
            )
        ]
        rows.append([number, f"{truth.mean():.2f}", *cells])
    print(f"{len(systems)} candidates and layers, {arguments.seeds} seeds\n")
    header = ("pairs", "true gain", "gain: bias", "error", "corrected: bias", "error")
    show(header, rows)


def reported(
    systems: NDArray[np.float32], baseline: NDArray[np.float32], dev: Pairs, number: int, seed: int
) -> tuple[float, float, float]:
    """Return the true gain of the selection, the measured gain, and the corrected gain."""
    order = np.random.default_rng(seed).permutation(len(dev))
    chosen, remaining = order[:number], order[number:]
    objective = Objective(part(dev, chosen), seed=seed)
    seen = systems[:, chosen]
    best = int(np.argmax(objective.score(seen)))
    gain = float(objective.score(seen[best]) - objective.score(baseline[chosen]))
    estimate = objective.split_estimate(objective.best_of(seen), baseline[chosen])
    corrected = estimate[0] if estimate else np.nan
    scores = part(dev, remaining).scores
    truth = spearman(systems[best, remaining], scores) - spearman(baseline[remaining], scores)
    return truth, gain, corrected


if __name__ == "__main__":
    main()
