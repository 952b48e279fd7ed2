"""Replay search strategies on recorded cosines, and print the cost and the regret of each.

    python benchmarks/race.py [--data DATA] [--seeds 200] [--candidates 300] [--layers auto]

A strategy is a function in STRATEGIES. It gets the cosines of all candidates and returns the candidate that
it selects and the number of sentences that would have been encoded for the cosines that it used. The cost is
the share of an exhaustive search's sentences. The regret is the difference between the best candidate's
Spearman x 100 on all development pairs and that of the selected candidate.

Without `--candidates`, the recorded candidates race. With it, a number of virtual candidates race: mixtures
of the normal scores of two recorded candidates with some noise, drawn again for every other seed. Their
scores vary, and their errors on few pairs are, about as those of the recorded ones; the script prints both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from measure import add_data_option, gold_order, show
from numpy.typing import NDArray
from recorded import Recorded
from scipy import stats

from demosearch.datasets import Pairs
from demosearch.metrics.correlation import normal_scores_correlation
from demosearch.selection.rungs import rung_sizes, spread_order, survivors

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """The candidates of a race.

    Attributes:
        cosines: (candidates, layers, pairs).
        baseline: cosines without demonstrations at the last layer, (pairs,).
        dev: the development pairs.
    """

    cosines: Array
    baseline: Array
    dev: Pairs

    @cached_property
    def gold(self) -> Array:
        """The gold scores, (pairs,)."""
        return np.array(self.dev.scores)

    @cached_property
    def truth(self) -> Array:
        """The score of each candidate on all pairs at its best layer, (candidates,)."""
        return ranks_score(self.cosines, self.gold)

    def sentences(self, rows: Sequence[int]) -> int:
        """Return the number of sentences of some pairs."""
        return len(self.dev.sentences(rows))


Score = Callable[[Array, Array], Array]
Strategy = Callable[[Pool, int], tuple[int, int]]


def ranks_score(cosines: Array, gold: Array) -> Array:
    """Return Spearman x 100 at the best layer, (candidates,) from (candidates, layers, pairs)."""
    return 100 * pearson(stats.rankdata(cosines, axis=-1), stats.rankdata(gold)).max(axis=1)


def normal_score(cosines: Array, gold: Array) -> Array:
    """Return the correlation of normal scores at the best layer, as the race uses it."""
    return normal_scores_correlation(cosines, gold).max(axis=1)


def pearson(first: Array, second: Array) -> Array:
    """Return Pearson's correlation along the last axis."""
    first = first - first.mean(axis=-1, keepdims=True)
    second = second - second.mean(axis=-1, keepdims=True)
    norms = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    return np.asarray((first * second).sum(axis=-1) / norms)


def rungs_of(
    pool: Pool,
    order: NDArray[np.intp],
    rungs: Sequence[int],
    survivors_of: Callable[[int, int], int],
    score: Score,
) -> tuple[int, int]:
    """Return the winner and the sentences of a race by rungs.

    Args:
        pool: the candidates.
        order: indices of the pairs.
        rungs: sizes of the rungs; the last one is all pairs.
        survivors_of: returns how many candidates continue, from their number on a rung and its index.
        score: compares the candidates on a rung; on all pairs the true score does.
    """
    alive = np.arange(len(pool.cosines))
    cost, before = 0, 0
    for number, size in enumerate(rungs):
        cost += len(alive) * pool.sentences(order[before:size].tolist())
        before = size
        if size == rungs[-1]:
            break
        scores = score(pool.cosines[alive][:, :, order[:size]], pool.gold[order[:size]])
        best_first = np.argsort(-scores, kind="stable")
        alive = alive[best_first[: survivors_of(len(alive), number)]]
    return int(alive[np.argmax(pool.truth[alive])]), cost


def by_gold_and_baseline(pool: Pool, seed: int) -> Array:
    """Return the order of pairs that the race uses."""
    similarities = pool.baseline.astype(np.float32)
    return np.asarray(spread_order(pool.dev.scores, similarities, seed))


def halving(first: int) -> Strategy:
    """Return successive halving with doubled rungs, by Spearman, to at least four finalists."""

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        rungs, size = [], first
        while size * 4 <= len(pool.dev) * 3:
            rungs.append(size)
            size *= 2
        order = gold_order(pool.dev.scores, seed)
        return rungs_of(
            pool,
            order,
            [*rungs, len(pool.dev)],
            lambda alive, _: max(-(-alive // 2), min(alive, 4)),
            ranks_score,
        )

    return run


def race(
    score: Score = normal_score, order: Callable[[Pool, int], Array] | None = None
) -> Strategy:
    """Return the race of demosearch, or one with another score or order of pairs."""

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        rows = order(pool, seed) if order else by_gold_and_baseline(pool, seed)
        start = len(pool.cosines)
        return rungs_of(
            pool,
            np.asarray(rows, dtype=np.intp),
            rung_sizes(len(pool.dev)),
            lambda _, rung: survivors(start, rung),
            score,
        )

    return run


def by_gold(pool: Pool, seed: int) -> Array:
    """Return an order that is spread over the gold scores only."""
    return np.asarray(gold_order(pool.dev.scores, seed))


def by_chance(pool: Pool, seed: int) -> Array:
    """Return a random order."""
    return np.asarray(np.random.default_rng(seed).permutation(len(pool.dev)))


def with_baseline_as_control(cosines: Array, gold: Array, pool: Pool, rows: Array) -> Array:
    """Return scores that are corrected by the error of the baseline's score on these pairs."""
    mine, theirs = standard(stats.rankdata(cosines, axis=-1)), standard(stats.rankdata(gold))
    plain = standard(stats.rankdata(pool.baseline[rows]))
    influence = mine * theirs - 0.5 * (mine * theirs).mean(-1, keepdims=True) * (
        mine**2 + theirs**2
    )
    control = plain * theirs - 0.5 * (plain * theirs).mean() * (plain**2 + theirs**2)
    control = control - control.mean()
    slope = (influence * control).mean(-1) / (control**2).mean()
    whole = pearson(stats.rankdata(pool.baseline), stats.rankdata(pool.gold))
    error = pearson(stats.rankdata(pool.baseline[rows]), stats.rankdata(gold)) - whole
    scores = pearson(stats.rankdata(cosines, axis=-1), stats.rankdata(gold))
    return np.asarray(100 * (scores - slope * error).max(axis=1))


def standard(values: Array) -> Array:
    """Return values of mean 0 and variance 1 along the last axis."""
    values = values - values.mean(axis=-1, keepdims=True)
    return np.asarray(values / np.sqrt((values**2).mean(axis=-1, keepdims=True)))


def controlled(pool: Pool, seed: int) -> tuple[int, int]:
    """Race with the baseline's error as control variate, in an order that does not depend on it."""
    order = by_gold(pool, seed)

    def score(cosines: Array, gold: Array) -> Array:
        return with_baseline_as_control(cosines, gold, pool, order[: len(gold)])

    return race(score, by_gold)(pool, seed)


def layers_mean(cosines: Array, gold: Array) -> Array:
    """Return the mean over the layers on few pairs, the best layer on more."""
    if len(gold) > 100:
        return normal_score(cosines, gold)
    return normal_scores_correlation(cosines, gold).mean(axis=1)


def tested(level: float) -> Strategy:
    """Return a race that drops candidates by the standard error of their difference to the leader."""

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        order = by_gold_and_baseline(pool, seed)
        alive, cost, before = np.arange(len(pool.cosines)), 0, 0
        for size in rung_sizes(len(pool.dev)):
            cost += len(alive) * pool.sentences(order[before:size].tolist())
            before = size
            rows = order[:size]
            scores = normal_score(pool.cosines[alive][:, :, rows], pool.gold[rows])
            leader = int(np.argmax(scores))
            # At the last layer: the products of standard scores, whose mean is the correlation.
            ranks = stats.rankdata(pool.cosines[alive][:, -1, rows], axis=-1)
            products = standard(ranks) * standard(stats.rankdata(pool.gold[rows]))
            error = 100 * (products - products[leader]).std(axis=-1) / np.sqrt(size)
            error *= np.sqrt(1 - size / len(pool.dev))
            alive = alive[scores[leader] - scores <= level * error]
        return int(alive[np.argmax(pool.truth[alive])]), cost

    return run


STRATEGIES: dict[str, Strategy] = {
    "halving from 50 pairs": halving(50),
    "halving from 100 pairs": halving(100),
    "race": race(),
    "race, by ranks": race(ranks_score),
    "race, pairs spread over gold scores only": race(order=by_gold),
    "race, by ranks and gold scores only": race(ranks_score, by_gold),
    "race, pairs in random order": race(order=by_chance),
    "race, mean over layers on few pairs": race(layers_mean),
    "race by ranks, baseline as control variate": controlled,
    "paired test, 1.5 standard errors": tested(1.5),
    "paired test, 2.5 standard errors": tested(2.5),
}


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
    for name, strategy in STRATEGIES.items():
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
