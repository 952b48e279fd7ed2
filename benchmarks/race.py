"""Replays strategies of searching on recorded cosines: what each costs, and how much it loses.

    python benchmarks/race.py [--data DATA] [--seeds 200] [--candidates 300] [--layers auto]

A strategy is a function below; to try a new one, write it and put it into STRATEGIES. It is given the
cosines of all candidates, may look at any of them, and says which candidate it takes and how many
sentences the encoder would have had to encode for what it looked at. The cost is the share of an
exhaustive search's sentences, the regret what the taken candidate's Spearman x 100 on all dev pairs is
below the best one's.

Without `--candidates` the recorded candidates race as they are. With it, so many virtual ones do:
mixtures of two recorded ones' normal scores with a little noise, drawn anew for every other seed, whose
scores spread, and err on few pairs, about as the recorded ones' do (the script prints both).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from measure import add_data_option, show
from numpy.typing import NDArray
from recorded import Recorded
from scipy import stats

from demosearch.datasets import Pairs
from demosearch.metrics.statistics import normal_scores_correlation
from demosearch.selection.rungs import rung_sizes, spread_order, stratified_order, survivors

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """Candidates to race.

    Attributes:
        cosines: (candidates, layers, pairs).
        baseline: cosines without demonstration at the last layer, (pairs,).
        dev: the pairs.
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
        """Every candidate's score on all pairs at its best layer, (candidates,)."""
        return ranks_score(self.cosines, self.gold)

    def sentences(self, rows: Sequence[int]) -> int:
        """Return how many sentences some pairs have."""
        return len(self.dev.sentences(rows))


Score = Callable[[Array, Array], Array]
Strategy = Callable[[Pool, int], tuple[int, int]]


def ranks_score(cosines: Array, gold: Array) -> Array:
    """Return Spearman x 100 at the best layer, (candidates,) from (candidates, layers, pairs)."""
    return 100 * pearson(stats.rankdata(cosines, axis=-1), stats.rankdata(gold)).max(axis=1)


def normal_score(cosines: Array, gold: Array) -> Array:
    """Return the correlation of normal scores at the best layer, as the race takes it."""
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
    staying: Callable[[int, int], int],
    score: Score,
) -> tuple[int, int]:
    """Return the winner and the sentences of a race by rungs.

    Args:
        pool: the candidates.
        order: of the pairs.
        rungs: sizes, the last one all pairs.
        staying: how many go on, of the number there were at the rung and the rung's own number.
        score: decides who goes on; on all pairs the true score does.
    """
    alive = np.arange(len(pool.cosines))
    cost, before = 0, 0
    for number, size in enumerate(rungs):
        cost += len(alive) * pool.sentences(order[before:size].tolist())
        before = size
        if size == rungs[-1]:
            break
        found = score(pool.cosines[alive][:, :, order[:size]], pool.gold[order[:size]])
        best_first = np.argsort(-found, kind="stable")
        alive = alive[best_first[: staying(len(alive), number)]]
    return int(alive[np.argmax(pool.truth[alive])]), cost


def by_gold_and_baseline(pool: Pool, seed: int) -> Array:
    """Return the order that the race takes."""
    similarities = pool.baseline.astype(np.float32)
    return np.asarray(spread_order(pool.dev.scores, similarities, seed))


def halving(first: int) -> Strategy:
    """Successive halving: doubled rungs, the better half by Spearman goes on, four at least."""

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        rungs, size = [], first
        while size * 4 <= len(pool.dev) * 3:
            rungs.append(size)
            size *= 2
        order = stratified_order(pool.dev.scores, seed)
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
    """Race as demosearch does, or with another score or order of pairs."""

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
    """Return an order spread evenly over the gold scores alone."""
    return np.asarray(stratified_order(pool.dev.scores, seed))


def by_chance(pool: Pool, seed: int) -> Array:
    """Return a random order."""
    return np.asarray(np.random.default_rng(seed).permutation(len(pool.dev)))


def with_baseline_as_control(cosines: Array, gold: Array, pool: Pool, rows: Array) -> Array:
    """Return scores less what the baseline's own error on these pairs tells of theirs."""
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
    found = pearson(stats.rankdata(cosines, axis=-1), stats.rankdata(gold))
    return np.asarray(100 * (found - slope * error).max(axis=1))


def standard(values: Array) -> Array:
    """Return values of mean 0 and variance 1 along the last axis."""
    values = values - values.mean(axis=-1, keepdims=True)
    return np.asarray(values / np.sqrt((values**2).mean(axis=-1, keepdims=True)))


def controlled(pool: Pool, seed: int) -> tuple[int, int]:
    """Race with the baseline's error as control variate, in an order that does not know it."""
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
    """Drop whoever is behind the leader by so many standard errors of the paired difference."""

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        order = by_gold_and_baseline(pool, seed)
        alive, cost, before = np.arange(len(pool.cosines)), 0, 0
        for size in rung_sizes(len(pool.dev)):
            cost += len(alive) * pool.sentences(order[before:size].tolist())
            before = size
            rows = order[:size]
            found = normal_score(pool.cosines[alive][:, :, rows], pool.gold[rows])
            leader = int(np.argmax(found))
            # At the last layer: the products of standard scores, whose mean is the correlation.
            ranks = stats.rankdata(pool.cosines[alive][:, -1, rows], axis=-1)
            products = standard(ranks) * standard(stats.rankdata(pool.gold[rows]))
            error = 100 * (products - products[leader]).std(axis=-1) / np.sqrt(size)
            error *= np.sqrt(1 - size / len(pool.dev))
            alive = alive[found[leader] - found <= level * error]
        return int(alive[np.argmax(pool.truth[alive])]), cost

    return run


STRATEGIES: dict[str, Strategy] = {
    "halving from 50 pairs": halving(50),
    "halving from 100 pairs": halving(100),
    "race": race(),
    "race, by ranks": race(ranks_score),
    "race, pairs spread over gold scores alone": race(order=by_gold),
    "race, by ranks and gold scores alone": race(ranks_score, by_gold),
    "race, pairs in random order": race(order=by_chance),
    "race, mean over layers on few pairs": race(layers_mean),
    "race by ranks, baseline as control variate": controlled,
    "paired test, 1.5 standard errors": tested(1.5),
    "paired test, 2.5 standard errors": tested(2.5),
}


def virtual(recorded: Array, number: int, generator: np.random.Generator) -> Array:
    """Return virtual candidates, (number, layers, pairs): mixtures of two recorded ones."""
    first = generator.integers(0, len(recorded), number)
    second = (first + generator.integers(1, len(recorded), number)) % len(recorded)
    share = generator.uniform(0.7, 1.0, number)[:, None, None]
    mixed = share * recorded[first] + (1 - share) * recorded[second]
    # One noise for all layers, as what a prompt does to a pair it does at every layer.
    noise = 0.3 * generator.uniform(0, 1, number) ** 2
    size = (number, 1, recorded.shape[-1])
    return np.asarray(mixed + generator.normal(size=size) * noise[:, None, None])


def errors(pool: Pool, size: int) -> float:
    """Return the standard deviation of scores on few pairs around those on all, less their mean."""
    found = []
    for seed in range(20):
        rows = stratified_order(pool.dev.scores, seed)[:size]
        error = ranks_score(pool.cosines[:, :, rows], pool.gold[rows]) - pool.truth
        found.append(error - error.mean())
    return float(np.std(found))


def main() -> None:
    """Replay and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parent
    parser.add_argument("--recorded", type=Path, default=here / "recorded" / "smollm2-135m.npz")
    parser.add_argument("--dev", default="stsb")
    add_data_option(parser)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--candidates", type=int, help="so many virtual ones")
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
        found = [
            outcome(pools[seed % len(pools)], strategy, seed) for seed in range(arguments.seeds)
        ]
        cost, regret = np.array(found).T
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
    # Whatever the strategy, the prompt without demonstration is scored on all pairs.
    cost += len(pool.dev.sentences())
    return cost / exhaustive, float(pool.truth.max() - pool.truth[winner])


if __name__ == "__main__":
    main()
