"""Means of routings and of every static λ over resamples of the queries, and the hull between static λ.

All comparisons of one judgement share their resamples, so that they are paired. Queries are resampled, never
samples: the answers to one query are not independent.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.judge.routing import Routing
from dami_merge.evaluation.statistics.bootstrap import RESAMPLES, percentiles, question_draws
from dami_merge.evaluation.statistics.interval import FEWEST, Interval

_DIGITS = 9
"""Digits of every figure: what rounding in sums leaves of an exact 0 must not count as a gain."""

_EXACT = 1e-12
"""What sums may differ by where two accuracies are equal."""


class Figure95(msgspec.Struct, frozen=True):
    """A measured number with its 95% interval; None with too few queries for one."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The measured means and those of B resamples, in row 0 and in rows 1 to B.

    Attributes:
        weights: How often each query counts, divided by the number of queries, shape [1+B, N].
        accuracy: Accuracy of every static λ, shape [1+B, Λ].
        tokens: Mean tokens of every static λ, shape [1+B, Λ].
    """

    weights: Numbers
    accuracy: Numbers
    tokens: Numbers

    def mean(self, values: Numbers) -> Numbers:
        """Means of one number per query, shape [N], in all rows: shape [1+B]."""
        means: Numbers = self.weights @ values
        return means

    def figure(self, rows: Numbers) -> Figure95:
        """The measured value, which is row 0, with the interval of the others."""
        few = self.weights.shape[1] < FEWEST
        exact = np.round(rows, _DIGITS) + 0.0
        return Figure95(float(exact[0]), None if few else percentiles(exact[1:]))

    def hull(self, tokens: Numbers) -> Numbers:
        """The best accuracy of sharing queries between static λ, blindly, for given mean tokens.

        Args:
            tokens: Mean tokens, shape [1+B]; the hull of each row is that row's.

        Returns:
            Shape [1+B], as `best_mixture`.
        """
        return best_mixture(self.accuracy, self.tokens, tokens)

    def tokens_for(self, accuracy: Numbers) -> Numbers:
        """The fewest mean tokens for which the hull reaches an accuracy, [1+B]; NaN if it never does."""
        base, top = self.accuracy[:, :, None], self.accuracy[:, None, :]
        low, high = self.tokens[:, :, None], self.tokens[:, None, :]
        aim = accuracy[:, None, None] - _EXACT
        rise = np.where(top > base, top - base, 1.0)
        part = np.where(base >= aim, 0.0, (aim - base) / rise)
        reached = (base >= aim) | (top >= aim)
        cost = np.where(reached, low + part * (high - low), np.inf)
        least = cost.min(axis=(1, 2))
        found: Numbers = np.where(np.isfinite(least), least, np.nan)
        return found


def best_mixture(accuracy: Numbers, tokens: Numbers, wanted: Numbers) -> Numbers:
    """The best accuracy of sharing queries between P points, for given mean tokens.

    Args:
        accuracy: Accuracy of each point, shape [1+B, P].
        tokens: Mean tokens of each point, shape [1+B, P].
        wanted: Mean tokens that may be spent, shape [1+B].

    Returns:
        Shape [1+B]. With fewer tokens than those of the cheapest point, the accuracy of that point; with more
        than those of the most accurate one, its accuracy, since tokens may be left.
    """
    low, high = tokens[:, :, None], tokens[:, None, :]
    base, top = accuracy[:, :, None], accuracy[:, None, :]
    budget = np.maximum(wanted, tokens.min(axis=1))[:, None, None]
    apart = np.where(high > low, high - low, 1.0)
    share = np.where(high > low, np.clip((budget - low) / apart, 0.0, 1.0), 0.0)
    mixed = np.where(low <= budget, base + share * (np.maximum(top, base) - base), -np.inf)
    best: Numbers = mixed.max(axis=(1, 2))
    return best


def resample_queries(examples: Examples, *, seed: int, resamples: int = RESAMPLES) -> Draws:
    """Resample the queries.

    Args:
        examples: N measured queries with answers at every λ.
        seed: Seed of the draws.
        resamples: Number of resamples B.
    """
    count = len(examples)
    drawn = list(question_draws(count, resamples, np.random.default_rng(seed)))
    weights = np.concatenate([np.ones((1, count)), *drawn]) / count
    return Draws(weights, weights @ examples.accuracy, weights @ examples.tokens)


def ends_mixture(draws: Draws, tokens: Numbers) -> Numbers:
    """Accuracy of sending a share of the queries to λ = 1, the rest to λ = 0, at given mean tokens."""
    low, high = draws.tokens[:, 0], draws.tokens[:, -1]
    share = np.clip((tokens - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    mixed: Numbers = draws.accuracy[:, 0] + share * (draws.accuracy[:, -1] - draws.accuracy[:, 0])
    return mixed


def gain_over_hull(draws: Draws, routing: Routing, examples: Examples) -> Numbers:
    """Accuracy of a routing minus that of the hull at the same mean tokens, in all rows, shape [1+B]."""
    gain: Numbers = draws.mean(routing.accuracy(examples)) - draws.hull(draws.mean(routing.tokens(examples)))
    return gain
