"""Agreement between candidates' scores on the starter pairs and on STS-B dev.

    python benchmarks/starter_agreement.py [--data DATA] [--candidates 32] [--pairs 1500]

The data folder defaults to the environment variable DEMOSEARCH_DATA. The same candidates are scored on
both sets with the same model. The output is Spearman's and Kendall's rank correlation over the candidates,
and the scores on STS-B of the candidates that are best on the starter set. Re-run the command to resume:
scores are stored in --folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from measure import add_data_option, spread
from scipy import stats

from demosearch import Encoder, search
from demosearch.candidates import CandidateSettings, generate
from demosearch.datasets import Split, read_pairs


def main() -> None:
    """Score the candidates, and print the agreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    add_data_option(parser)
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=1500, help="number of STS-B dev pairs")
    parser.add_argument("--folder", type=Path, default=Path("runs/starter_agreement"))
    arguments = parser.parse_args()

    starter = read_pairs("starter", Split.DEV)
    stsb = spread(read_pairs("stsb", Split.DEV, arguments.data), arguments.pairs)
    settings = CandidateSettings(
        labeler="local",
        sentences="starter",
        n_sentences=arguments.candidates // 3,
        dictionary="starter",
        n_dictionary=arguments.candidates - arguments.candidates // 3,
    )
    candidates = generate(settings, model=arguments.model, forbidden=stsb.sentences()).candidates
    encoder = Encoder.load(arguments.model)
    tables = []
    for pairs in (starter, stsb):
        folder = arguments.folder / f"{pairs.name}-{len(pairs)}"
        search(encoder, candidates, pairs, folder=folder, strategy="exhaustive", show_progress=True)
        tables.append(pd.read_csv(folder / "trials.csv").set_index("candidate")["spearman"])
    both = pd.concat(tables, axis=1, keys=["starter", "stsb"]).drop(index="baseline").dropna()
    baseline = tables[1]["baseline"]
    chosen = both.sort_values("starter", ascending=False)["stsb"]
    print(f"candidates                         {len(both)}")
    print(f"STS-B dev pairs                    {len(stsb)}")
    print(f"rank correlation (Spearman)        {stats.spearmanr(*both.T.to_numpy()).statistic:.2f}")
    print(
        f"rank correlation (Kendall)         {stats.kendalltau(*both.T.to_numpy()).statistic:.2f}"
    )
    print(f"STS-B: baseline                    {baseline:.2f}")
    print(f"STS-B: mean candidate              {both['stsb'].mean():.2f}")
    print(f"STS-B: best on the starter set     {chosen.iloc[0]:.2f}")
    print(f"STS-B: mean of the best five       {chosen.iloc[:5].mean():.2f}")
    print(f"STS-B: best candidate              {both['stsb'].max():.2f}")


if __name__ == "__main__":
    main()
