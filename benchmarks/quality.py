"""Measure how well each quality score predicts a candidate's score in a search.

    python benchmarks/quality.py --recorded benchmarks/recorded/smollm2-135m.npz [--data DIR]
    python benchmarks/quality.py --run runs/smollm2-135m [--model smollm2-135m]

The ground truth is either in a file of `record.py`: the score on all dev pairs at the last layer. Or it is
in a run folder: the score on the first rung, on which every candidate was scored (`--rung` names another
one). Prints Spearman's correlation over the candidates with a 95% bootstrap interval, for all candidates
and by source, and the best score among the first candidates in the order that the search uses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from measure import show
from recorded import FEATURES, Recorded
from scipy import stats

from demosearch.candidates import read_candidates
from demosearch.candidates.file import Candidate
from demosearch.candidates.quality import (
    promising_first,
    with_word_frequency,
    with_word_log_probability,
)
from demosearch.metrics.correlation import spearman
from demosearch.models.known import resolve
from demosearch.models.loading import load


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--recorded", type=Path, help="file of record.py")
    given.add_argument("--run", type=Path, help="run folder")
    parser.add_argument("--dev", default="stsb")
    parser.add_argument("--data", help="data folder (default: DEMOSEARCH_DATA)")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rung", type=int, help="rung of the ground truth, by its number of pairs")
    arguments = parser.parse_args()

    if arguments.recorded:
        rows, pairs = of_recorded(Recorded.load(arguments.recorded), arguments.dev, arguments.data)
    else:
        rows, pairs = of_run(arguments.run, arguments.model, arguments.rung)
    kinds = {"all": rows}
    kinds |= {str(source): part for source, part in rows.groupby("source")}
    print(f"{len(rows)} candidates, ground truth: Spearman x 100 on {pairs} dev pairs\n")
    show(
        ("best score of the first", "in the order of the search", "in random order"),
        [(first, *best_of_first(rows, first)) for first in (5, 10, 20, 40)],
    )
    print()
    show(
        ("quality score", *(f"{name} ({len(part)})" for name, part in kinds.items())),
        [(score, *(correlation(part, score) for part in kinds.values())) for score in FEATURES],
    )


def of_recorded(recorded: Recorded, dev: str, data: str | None) -> tuple[pd.DataFrame, int]:
    """Return quality scores and the scores on all pairs at the last layer, and the number of pairs."""
    pairs = recorded.pairs(dev, data)
    rows = pd.DataFrame(recorded.features, columns=list(FEATURES))
    rows["source"] = recorded.sources
    rows["truth"] = [
        spearman(cosines[-1].astype(np.float32), pairs.scores) for cosines in recorded.cosines
    ]
    return rows, len(pairs)


def of_run(folder: Path, model: str, rung: int | None) -> tuple[pd.DataFrame, int]:
    """Return quality scores and the scores on a rung of a run, and the number of pairs."""
    candidates = with_word_frequency(read_candidates(folder / "candidates.jsonl"))
    if any(candidate.word_log_probability is None for candidate in candidates):
        loaded = load(resolve(model), head=True)
        candidates = with_word_log_probability(candidates, loaded, show_progress=True)
    columns = pd.DataFrame([candidate.model_dump() for candidate in candidates]).set_index("id")
    columns["words"] = columns["sentence"].str.split().str.len()
    trials = pd.read_csv(folder / "trials.csv").set_index("candidate")
    rungs = sorted(
        int(name.removeprefix("spearman_")) for name in trials if name.startswith("spearman_")
    )
    chosen = rung or rungs[0]
    truth = trials[f"spearman_{chosen}"].dropna()
    return columns.join(truth.rename("truth"), how="inner"), chosen


def best_of_first(rows: pd.DataFrame, first: int) -> tuple[str, str]:
    """Return the best score among the first candidates in the search's order and in random order.

    Both are means over 200 random orders of ties.
    """
    best: list[list[float]] = [[], []]
    for seed in range(200):
        shuffled = rows.sample(frac=1, random_state=seed)
        candidates = [
            Candidate(
                # Only the number of its words matters.
                sentence=" ".join(["word"] * int(row["words"])),
                word="Word",
                source=row["source"],
                word_in_sentence=bool(row["word_in_sentence"]),
                word_log_probability=row["word_log_probability"],
                truth=row["truth"],
            )
            for row in shuffled.to_dict("records")
        ]
        for scores, order in zip(best, (promising_first(candidates), candidates), strict=True):
            scores.append(max(candidate.model_dump()["truth"] for candidate in order[:first]))
    return f"{np.mean(best[0]):.2f}", f"{np.mean(best[1]):.2f}"


def correlation(rows: pd.DataFrame, score: str) -> str:
    """Return the rank correlation with its bootstrap interval as text; empty if there is none."""
    known = rows.dropna(subset=[score]) if score in rows else rows.iloc[:0]
    values = known[score].astype(float).to_numpy() if len(known) else np.zeros(0)
    if len(set(values)) < 2 or len(values) < 10:
        return ""
    truth = known["truth"].to_numpy()
    observed = stats.spearmanr(values, truth).statistic
    generator = np.random.default_rng(0)
    resampled = []
    for _ in range(1000):
        sample = generator.integers(0, len(values), len(values))
        if len(set(values[sample])) > 1:
            resampled.append(stats.spearmanr(values[sample], truth[sample]).statistic)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return f"{observed:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
