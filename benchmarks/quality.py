"""How well each quality score foretells a candidate's score in a search.

    python benchmarks/quality.py runs/smollm2-135m [--model smollm2-135m]

Reads a run's folder. Every candidate was scored on the first rung's pairs at least, so that rung is the
default truth (`--rung` names another); an exhaustive run's only rung is the whole dev set. Prints
Spearman's correlation over the candidates with a 95% bootstrap interval, for all and by source.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from measure import show
from scipy import stats

from demosearch.candidates import read_candidates
from demosearch.candidates.quality import with_word_frequency, with_word_log_probability
from demosearch.loading import load
from demosearch.models import resolve

SCORES = ("word_log_probability", "zipf", "words", "word_in_sentence", "agreement")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rung", type=int, help="pairs of the rung that is the truth")
    arguments = parser.parse_args()

    candidates = with_word_frequency(read_candidates(arguments.run / "candidates.jsonl"))
    if any(one.word_log_probability is None for one in candidates):
        loaded = load(resolve(arguments.model), head=True)
        candidates = with_word_log_probability(candidates, loaded, show_progress=True)
    columns = pd.DataFrame([one.model_dump() for one in candidates]).set_index("id")
    columns["words"] = columns["sentence"].str.split().str.len()
    trials = pd.read_csv(arguments.run / "trials.csv").set_index("candidate")
    rungs = sorted(
        int(name.removeprefix("spearman_")) for name in trials if name.startswith("spearman_")
    )
    rung = arguments.rung or rungs[0]
    truth = trials[f"spearman_{rung}"].dropna()
    both = columns.join(truth.rename("truth"), how="inner")
    kinds = {"all": both}
    kinds |= {str(source): rows for source, rows in both.groupby("source")}
    print(f"{len(both)} candidates, truth: Spearman x 100 on {rung} dev pairs\n")
    show(
        ("quality score", *(f"{name} ({len(rows)})" for name, rows in kinds.items())),
        [(score, *(correlation(rows, score) for rows in kinds.values())) for score in SCORES],
    )


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
