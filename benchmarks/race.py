"""Replay search strategies on recorded cosines, and print the cost and the regret of each.

    python benchmarks/race.py [--data DATA] [--seeds 200] [--candidates 300] [--layers auto] [--only race]

A strategy is a function in `strategies.py`. It gets the cosines of all candidates and returns the candidate
that it selects and the number of sentences that would have been encoded for the cosines that it used. The
cost is the share of an exhaustive search's sentences. The regret is the difference between the best
candidate's Spearman x 100 on all development pairs and that of the selected candidate.

Without `--candidates`, the recorded candidates race. With it, a number of virtual candidates race: mixtures
of the normal scores of two recorded candidates with some noise, drawn again for every other seed. Their
scores vary, and their errors on few pairs are, about as those of the recorded ones; the script prints both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure import add_data_option, gold_order, show
from recorded import Recorded
from scipy import stats
from strategies import STRATEGIES, Array, Pool, Strategy, ranks_score


def virtual(recorded: Array, number: int, generator: np.random.Generator) -> Array:
    """Return virtual candidates, (number, layers, pairs): mixtures of two recorded candidates."""
    first = generator.integers(0, len(recorded), number)
    second = (first + generator.integers(1, len(recorded), number)) % len(recorded)
    share = generator.uniform(0.7, 1.0, number)[:, None, None]
    mixed = share * recorded[first] + (1 - share) * recorded[second]
    # The same noise at all layers, because a prompt changes a pair at every layer.
    noise = 0.3 * generator.uniform(0, 1, number) ** 2
    size = (number, 1, recorded.shape[-1])
    return np.asarray(mixed + generator.normal(size=size) * noise[:, None, None])


def errors(pool: Pool, size: int) -> float:
    """Return the standard deviation of the error of scores on few pairs, less its mean."""
    centered = []
    for seed in range(20):
        rows = gold_order(pool.dev.scores, seed)[:size]
        error = ranks_score(pool.cosines[:, :, rows], pool.gold[rows]) - pool.truth
        centered.append(error - error.mean())
    return float(np.std(centered))


def main() -> None:
    """Replay and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parent
    parser.add_argument("--recorded", type=Path, default=here / "recorded" / "smollm2-135m.npz")
    parser.add_argument("--dev", default="stsb")
    add_data_option(parser)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--candidates", type=int, help="number of virtual candidates")
    parser.add_argument("--layers", choices=["last", "auto"], default="last")
    parser.add_argument("--only", nargs="+", help="names of strategies", choices=STRATEGIES)
    arguments = parser.parse_args()

    kept = Recorded.load(arguments.recorded)
    dev = kept.pairs(arguments.dev, arguments.data)
    chosen = slice(None) if arguments.layers == "auto" else slice(-1, None)
    cosines = kept.cosines[:, chosen].astype(float)
    baseline = kept.baseline[-1].astype(float)
    real = Pool(cosines, baseline, dev)
    pools = [real]
    if arguments.candidates:
        ranks = stats.rankdata(cosines, axis=-1)
        normal = stats.norm.ppf((ranks - 0.5) / len(dev))
        pools = [
            Pool(virtual(normal, arguments.candidates, np.random.default_rng(seed)), baseline, dev)
            for seed in range(arguments.seeds // 2)
        ]
    for name, pool in (("recorded", real), ("raced", pools[0])):
        few = ", ".join(f"{errors(pool, size):.2f} on {size}" for size in (50, 100, 200))
        best = np.sort(pool.truth)[::-1][:3].round(2).tolist()
        spread = pool.truth.std()
        print(
            f"{name}: {len(pool.truth)} candidates, best {best}, deviation {spread:.2f}, error {few}"
        )
    print()
    rows = []
    for name in arguments.only or STRATEGIES:
        strategy = STRATEGIES[name]
        outcomes = [
            outcome(pools[seed % len(pools)], strategy, seed) for seed in range(arguments.seeds)
        ]
        cost, regret = np.array(outcomes).T
        rows.append(
            (
                name,
                f"{100 * cost.mean():.1f}%",
                f"{regret.mean():.3f} ± {regret.std() / np.sqrt(len(regret)):.3f}",
                f"{np.percentile(regret, 95):.2f}",
            )
        )
    show(("strategy", "sentences", "mean regret", "95th percentile"), rows)


def outcome(pool: Pool, strategy: Strategy, seed: int) -> tuple[float, float]:
    """Return a strategy's cost as a share of the exhaustive search's, and its regret."""
    winner, cost = strategy(pool, seed)
    exhaustive = (len(pool.cosines) + 1) * len(pool.dev.sentences())
    # Every strategy scores the prompt without demonstrations on all pairs.
    cost += len(pool.dev.sentences())
    return cost / exhaustive, float(pool.truth.max() - pool.truth[winner])


if __name__ == "__main__":
    main()
