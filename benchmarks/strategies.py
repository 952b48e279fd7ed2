"""Strategies of a search, and the recorded or virtual candidates on which `race.py` replays them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from measure import gold_order
from numpy.typing import NDArray
from scipy import stats

from demosearch.datasets import Pairs
from demosearch.metrics.correlation import normal_scores_correlation
from demosearch.selection import Objective
from demosearch.selection.rungs import (
    DROP_ERRORS,
    FIRST_TEST,
    LARGEST_SHARE,
    MIN_FINALISTS,
    rung_sizes,
    spread_order,
    survivors,
)

Array = NDArray[Any]


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
# From the cosines' pool and a seed to the winner and the number of sentences.
Strategy = Callable[[Pool, int], tuple[int, int]]
# From those who are alive, their scores, the rung's pairs and its index to the positions of those who
# continue.
Survivors = Callable[[Array, Array, Array, int], Array]


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
    order: Array,
    rungs: Sequence[int],
    survivors_of: Survivors,
    score: Score,
) -> tuple[int, int]:
    """Return the winner and the sentences of a race by rungs.

    Args:
        pool: the candidates.
        order: indices of the pairs.
        rungs: sizes of the rungs; the last one is all pairs.
        survivors_of: chooses those who continue.
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
        alive = alive[survivors_of(alive, scores, order[:size], number)]
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
            lambda alive, scores, *_: best(scores, max(-(-len(alive) // 2), min(len(alive), 4))),
            ranks_score,
        )

    return run


def race(
    score: Score = normal_score,
    order: Callable[[Pool, int], Array] = by_gold_and_baseline,
) -> Strategy:
    """Return the race of demosearch, or one with another score or order of pairs."""

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        start = len(pool.cosines)

        def survivors_of(alive: Array, scores: Array, rows: Array, rung: int) -> Array:
            kept = best(scores, survivors(start, rung))
            if rung < FIRST_TEST:
                return kept
            better = number_better(pool, alive[kept], rows, DROP_ERRORS)
            return kept[better < MIN_FINALISTS]

        rungs = rung_sizes(len(pool.dev), candidates=start)
        return rungs_of(pool, order(pool, seed), rungs, survivors_of, score)

    return run


def cuts_alone(first: int, growth: float, cut: float, later: float) -> Strategy:
    """Return a race with other constants that drops nobody before the cuts; see `rungs`."""

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        start, size, rungs = len(pool.cosines), float(first), []
        while round(size) <= LARGEST_SHARE * len(pool.dev):
            rungs.append(round(size))
            size *= growth

        return rungs_of(
            pool,
            by_gold_and_baseline(pool, seed),
            [*rungs, len(pool.dev)],
            lambda _, scores, __, rung: best(
                scores, max(int(np.ceil(start * cut * later**rung)), MIN_FINALISTS)
            ),
            normal_score,
        )

    return run


def best(scores: Array, number: int) -> Array:
    """Return the indices of the best scores, best first."""
    return np.argsort(-scores, kind="stable")[:number]


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


def tests_alone(sizes_of: Callable[[Pool], list[int]], errors: float, beaten: int) -> Strategy:
    """Return a race without cuts: whoever is significantly worse than several others is dropped.

    Args:
        sizes_of: returns the sizes of the rungs.
        errors: a difference of more standard errors is significant.
        beaten: number of better candidates.
    """

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        return rungs_of(
            pool,
            by_gold_and_baseline(pool, seed),
            sizes_of(pool),
            lambda alive, _, rows, __: np.flatnonzero(
                number_better(pool, alive, rows, errors) < beaten
            ),
            normal_score,
        )

    return run


def blocks(pairs: int) -> Callable[[Pool], list[int]]:
    """Return rungs that grow by the same number of pairs, as CAPO's blocks."""
    return lambda pool: [*range(pairs, len(pool.dev) - pairs // 2, pairs), len(pool.dev)]


def ucb_e(exploration: float, share: float, step: int = 10) -> Strategy:
    """Return UCB-E (Audibert and others, COLT 2010) with a budget.

    The candidate with the highest score plus `sqrt(exploration / pairs)` gets the next pairs.

    Args:
        exploration: the constant; scores count from 0 to 1.
        share: budget, as a share of the exhaustive search's pairs.
        step: number of pairs that a candidate gets at a time.
    """

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        order = by_gold_and_baseline(pool, seed)
        number, whole = len(pool.cosines), len(pool.dev)
        # No correlation without some pairs, so that each candidate gets twice as many at the start.
        sizes = np.full(number, 2 * step)

        def score(candidate: int) -> float:
            rows = order[: sizes[candidate]]
            return float(normal_score(pool.cosines[[candidate]][:, :, rows], pool.gold[rows])[0])

        scores = np.array([score(candidate) for candidate in range(number)])
        left = share * number * whole - sizes.sum()
        while left > 0:
            bounds = np.where(sizes < whole, scores / 100 + np.sqrt(exploration / sizes), -np.inf)
            chosen = int(np.argmax(bounds))
            added = min(step, whole - sizes[chosen])
            sizes[chosen] += added
            left -= added
            scores[chosen] = score(chosen)
        cost = sum(pool.sentences(order[:size].tolist()) for size in sizes)
        return int(np.argmax(scores)), cost

    return run


def triple(share: float) -> Strategy:
    """Return TRIPLE-SH (arXiv 2402.09723): sequential halving that spends a budget evenly over its rounds.

    Args:
        share: budget, as a share of the exhaustive search's pairs.
    """

    def run(pool: Pool, seed: int) -> tuple[int, int]:
        order = by_gold_and_baseline(pool, seed)
        number, whole = len(pool.cosines), len(pool.dev)
        rounds = int(np.ceil(np.log2(number)))
        alive, size, cost = np.arange(number), 0, 0
        for _ in range(rounds):
            larger = min(whole, size + int(share * number * whole / rounds / len(alive)))
            cost += len(alive) * pool.sentences(order[size:larger].tolist())
            size = larger
            rows = order[:size]
            scores = normal_score(pool.cosines[alive][:, :, rows], pool.gold[rows])
            alive = alive[np.argsort(-scores, kind="stable")[: -(-len(alive) // 2)]]
        return int(alive[0]), cost

    return run


def number_better(pool: Pool, alive: Array, rows: Array, errors: float) -> Array:
    """Return how many others each candidate is significantly worse than; at each one's best layer."""
    cosines = pool.cosines[alive][:, :, rows]
    layers = normal_scores_correlation(cosines, pool.gold[rows]).argmax(axis=1)
    best = cosines[np.arange(len(alive)), layers].astype(np.float32)
    return Objective(pool.dev).number_better(best, rows, errors)


# The budget of UCB-E and TRIPLE, which stop where it ends: about what the race needs for 300 candidates.
BUDGET = 0.06
# The normal quantile of CAPO's one-sided level of 0.2.
CAPO_ERRORS = float(stats.norm.ppf(0.8))
STRATEGIES: dict[str, Strategy] = {
    "race": race(),
    "race, nobody is dropped before the cuts": cuts_alone(40, 1.3, 0.38, 0.7),
    "race, by ranks": race(ranks_score),
    "race, pairs spread over gold scores only": race(order=by_gold),
    "race, pairs in random order": race(order=by_chance),
    "race, mean over layers on few pairs": race(layers_mean),
    "race, by ranks, baseline as control variate": controlled,
    "cuts of version 0.1: 50 pairs, 1.4, 0.47, 0.62": cuts_alone(50, 1.4, 0.47, 0.62),
    "halving from 50 pairs": halving(50),
    "halving from 100 pairs": halving(100),
    "CAPO, blocks of 30 pairs": tests_alone(blocks(30), CAPO_ERRORS, 4),
    "CAPO, blocks of 50 pairs": tests_alone(blocks(50), CAPO_ERRORS, 4),
    "tests against the leader, 1.5 standard errors": tests_alone(
        lambda pool: rung_sizes(len(pool.dev), candidates=len(pool.cosines)), 1.5, 1
    ),
    "TRIPLE-SH": triple(BUDGET),
    "UCB-E, constant 1": ucb_e(1.0, BUDGET),
    "UCB-E, constant 0.1": ucb_e(0.1, BUDGET),
}
