"""What a routing is worth: every figure of one row of the table, all from the same resamples of the queries.

The primary figure, declared beforehand, is `over_hull`: accuracy minus that of the best blind mixture of
static λ at the same mean tokens, tokens of the estimator included. Everything else explains it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.judge.headroom import oracle_points, table_points
from dami_merge.estimators.judge.metrics import entropy
from dami_merge.estimators.judge.resampled import (
    Draws,
    Figure95,
    best_mixture,
    ends_mixture,
    gain_over_hull,
    resample_queries,
)
from dami_merge.estimators.judge.routing import Routing, matched_random, over_seeds
from dami_merge.evaluation.statistics.bootstrap import RESAMPLES

ORACLE_PRICES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 1e6)
"""μ at which oracles choose: their frontier goes from the most accurate to the cheapest choice."""


class Headroom(msgspec.Struct, frozen=True, kw_only=True):
    """What can be won at the tokens of a routing, and how much of it the routing wins.

    Attributes:
        gain: What the oracle wins over the hull at the same mean tokens, reproducibly.
        won: `over_hull` divided by `gain`; may exceed 1, since the oracle chooses on half of the samples.
            None if the interval of `gain` is not above 0: there is nothing to share.
    """

    gain: Figure95
    won: Figure95 | None


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One routing on N queries, over the seeds of its estimator.

    Attributes:
        queries: N.
        accuracy: Mean accuracy.
        tokens: Mean tokens, those of the estimator included.
        spent: Mean tokens of the estimator alone.
        over_hull: Accuracy minus that of the hull of static mixtures at the same mean tokens.
        by_seed: `over_hull` of each seed's routing.
        over_random: Accuracy minus that of a random router with the same shares of λ.
        over_ends: Accuracy minus that of sharing queries between λ = 0 and λ = 1 at the same mean tokens.
        over_thinking: Accuracy minus that of λ = 1, paired.
        saved: Share of the tokens of λ = 1 that are saved, paired; negative if more are used.
        saved_at_equal_accuracy: Share saved of the tokens with which the hull reaches the same accuracy; None
            if it never does; without an interval if it does not in some resample.
        oracle: Headroom of an oracle that knows each query's group and half of its answers; None with fewer
            than two samples in some cell.
        table: Headroom of a table that knows each query's group; None without groups.
        histogram: Share of the queries that each λ gets.
        spread_bits: Entropy of the histogram in bits; 0 for a static λ.
    """

    queries: int
    accuracy: Figure95
    tokens: Figure95
    spent: float
    over_hull: Figure95
    by_seed: tuple[float, ...]
    over_random: Figure95
    over_ends: Figure95
    over_thinking: Figure95
    saved: Figure95
    saved_at_equal_accuracy: Figure95 | None
    oracle: Headroom | None
    table: Headroom | None
    histogram: tuple[float, ...]
    spread_bits: float


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Measured queries with what all routings on them are compared with.

    Attributes:
        examples: N measured queries.
        draws: Resamples of the queries.
        oracle: Accuracy and tokens of the oracle's points, both [1+B, P]; None as for `Judgement.oracle`.
        table: The same for the table of groups.
    """

    examples: Examples
    draws: Draws
    oracle: tuple[Numbers, Numbers] | None
    table: tuple[Numbers, Numbers] | None

    def over_hull(self, routing: Routing) -> Numbers:
        """The primary figure in all rows, shape [1+B]: differences between routings are paired."""
        return gain_over_hull(self.draws, routing, self.examples)

    def measured(self, routing: Routing) -> float:
        """The primary figure without resamples."""
        draws = self.draws
        first = Draws(draws.weights[:1], draws.accuracy[:1], draws.tokens[:1])
        return float(gain_over_hull(first, routing, self.examples)[0])


def bench(examples: Examples, *, seed: int, resamples: int = RESAMPLES) -> Bench:
    """Prepare measured queries for judging.

    Args:
        examples: N queries with answers at every λ; λ = 0 and λ = 1 are the first and the last.
        seed: Seed of the resamples.
        resamples: Number of resamples B.
    """
    draws = resample_queries(examples, seed=seed, resamples=resamples)
    first, second = examples.halves()
    split = bool((first.samples > 0).all() and (second.samples > 0).all())
    groups = examples.groups
    known = all(groups) and len(set(groups)) > 1
    table = _means(draws, *table_points(examples, ORACLE_PRICES)) if known else None
    oracle = _means(draws, *oracle_points(examples, ORACLE_PRICES)) if split else None
    if oracle is not None and table is not None:  # who knows more may still choose by the group alone
        accuracy, tokens = (np.hstack(pair) for pair in zip(oracle, table, strict=True))
        oracle = accuracy, tokens
    return Bench(examples, draws, oracle, table)


def _means(draws: Draws, accuracy: Numbers, tokens: Numbers) -> tuple[Numbers, Numbers]:
    return draws.weights @ accuracy, draws.weights @ tokens


def judge_routing(own: Bench, routings: Sequence[Routing]) -> Judgement:
    """Judge the routings of one estimator, one for each of its seeds.

    The seeds are averaged query by query before queries are resampled, so that the intervals are over
    queries, for an estimator with an unknown seed.

    Args:
        own: The measured queries.
        routings: One or more routings of them.
    """
    examples, draws = own.examples, own.draws
    routing = over_seeds(routings)
    accuracy, tokens = draws.mean(routing.accuracy(examples)), draws.mean(routing.tokens(examples))
    gain = accuracy - draws.hull(tokens)
    random = draws.mean(matched_random(routing).accuracy(examples))
    dear = np.maximum(draws.tokens[:, -1], 1e-12)
    histogram = routing.histogram
    return Judgement(
        queries=len(examples),
        accuracy=draws.figure(accuracy),
        tokens=draws.figure(tokens),
        spent=float(routing.spent.mean()),
        over_hull=draws.figure(gain),
        by_seed=tuple(own.measured(each) for each in routings),
        over_random=draws.figure(accuracy - random),
        over_ends=draws.figure(accuracy - ends_mixture(draws, tokens)),
        over_thinking=draws.figure(accuracy - draws.accuracy[:, -1]),
        saved=draws.figure(1 - tokens / dear),
        saved_at_equal_accuracy=_saved(draws, accuracy, tokens),
        oracle=_share(own, own.oracle, gain, tokens),
        table=_share(own, own.table, gain, tokens),
        histogram=tuple(histogram.tolist()),
        spread_bits=entropy(histogram),
    )


def _saved(draws: Draws, accuracy: Numbers, tokens: Numbers) -> Figure95 | None:
    saved = 1 - tokens / np.maximum(draws.tokens_for(accuracy), 1e-12)
    if np.isnan(saved[0]):
        return None
    return Figure95(float(saved[0]), None) if np.isnan(saved).any() else draws.figure(saved)


def _share(
    own: Bench, points: tuple[Numbers, Numbers] | None, gain: Numbers, tokens: Numbers
) -> Headroom | None:
    if points is None:
        return None
    room = best_mixture(*points, tokens) - own.draws.hull(tokens)
    figure = own.draws.figure(room)
    shown = figure.interval is not None and figure.interval.low > 0
    return Headroom(gain=figure, won=own.draws.figure(gain / np.maximum(room, 1e-9)) if shown else None)
