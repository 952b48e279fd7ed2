"""How well each quality score foretells a candidate's score in a search.

    python benchmarks/quality.py --recorded benchmarks/recorded/smollm2-135m.npz --data ../shared/data
    python benchmarks/quality.py --run runs/smollm2-135m [--model smollm2-135m]

Reads what `record.py` recorded, where the truth is the score on all dev pairs at the last layer, or a
run's folder, where it is the score on the first rung, on which every candidate was scored (`--rung`
names another). Prints Spearman's correlation over the candidates with a 95% bootstrap interval, for all
and by source, and what the order of the trials that follows from them is worth.
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
    given.add_argument("--recorded", type=Path, help="what record.py wrote")
    given.add_argument("--run", type=Path, help="a run's folder")
    parser.add_argument("--dev", default="stsb")
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rung", type=int, help="pairs of the rung that is the truth")
    arguments = parser.parse_args()

    if arguments.recorded:
        rows, pairs = of_recorded(Recorded.load(arguments.recorded), arguments.dev, arguments.data)
    else:
        rows, pairs = of_run(arguments.run, arguments.model, arguments.rung)
    kinds = {"all": rows}
    kinds |= {str(source): part for source, part in rows.groupby("source")}
    print(f"{len(rows)} candidates, truth: Spearman x 100 on {pairs} dev pairs\n")
    show(
        ("score of the first", "in the order of the search", "in a random order"),
        [(f"{first}, best", *best_of_first(rows, first)) for first in (5, 10, 20, 40)],
    )
    print()
    show(
        ("quality score", *(f"{name} ({len(part)})" for name, part in kinds.items())),
        [(score, *(correlation(part, score) for part in kinds.values())) for score in FEATURES],
    )


def of_recorded(recorded: Recorded, dev: str, data: str) -> tuple[pd.DataFrame, int]:
    """Return the candidates' quality scores and scores on all pairs at the last layer."""
    pairs = recorded.pairs(dev, data)
    rows = pd.DataFrame(recorded.features, columns=list(FEATURES))
    rows["source"] = recorded.sources
    rows["truth"] = [
        spearman(each[-1].astype(np.float32), pairs.scores) for each in recorded.cosines
    ]
    return rows, len(pairs)


def of_run(folder: Path, model: str, rung: int | None) -> tuple[pd.DataFrame, int]:
    """Return the quality scores of a run's candidates and their scores on a rung."""
    candidates = with_word_frequency(read_candidates(folder / "candidates.jsonl"))
    if any(one.word_log_probability is None for one in candidates):
        loaded = load(resolve(model), head=True)
        candidates = with_word_log_probability(candidates, loaded, show_progress=True)
    columns = pd.DataFrame([one.model_dump() for one in candidates]).set_index("id")
    columns["words"] = columns["sentence"].str.split().str.len()
    trials = pd.read_csv(folder / "trials.csv").set_index("candidate")
    rungs = sorted(
        int(name.removeprefix("spearman_")) for name in trials if name.startswith("spearman_")
    )
    chosen = rung or rungs[0]
    truth = trials[f"spearman_{chosen}"].dropna()
    return columns.join(truth.rename("truth"), how="inner"), chosen


def best_of_first(rows: pd.DataFrame, first: int) -> tuple[str, str]:
    """Return the mean best score of the first so many, over the order of those that are alike."""
    found: list[list[float]] = [[], []]
    for seed in range(200):
        drawn = rows.sample(frac=1, random_state=seed)
        candidates = [
            Candidate(
                # Its words alone are counted.
                sentence=" ".join(["word"] * int(row["words"])),
                word="Word",
                source=row["source"],
                word_in_sentence=bool(row["word_in_sentence"]),
                word_log_probability=row["word_log_probability"],
                truth=row["truth"],
            )
            for row in drawn.to_dict("records")
        ]
        for place, order in enumerate((promising_first(candidates), candidates)):
            found[place].append(max(one.model_dump()["truth"] for one in order[:first]))
    return f"{np.mean(found[0]):.2f}", f"{np.mean(found[1]):.2f}"


def correlation(rows: pd.DataFrame, score: str) -> str:
    """Return the rank correlation and its bootstrap interval in words."""
    known = rows.dropna(subset=[score]) if score in rows else rows.iloc[:0]
    values = known[score].astype(float).to_numpy() if len(known) else np.zeros(0)
    if len(set(values)) < 2 or len(values) < 10:
        return ""
    truth = known["truth"].to_numpy()
    found = stats.spearmanr(values, truth).statistic
    generator = np.random.default_rng(0)
    again = []
    for _ in range(1000):
        drawn = generator.integers(0, len(values), len(values))
        if len(set(values[drawn])) > 1:
            again.append(stats.spearmanr(values[drawn], truth[drawn]).statistic)
    low, high = np.percentile(again, [2.5, 97.5])
    return f"{found:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
