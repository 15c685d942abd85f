"""The paired bootstrap by question: one matrix of resamples for all λ, so that all comparisons are joint.

Questions are resampled, never samples: the samples of one question are not independent (Efron and Tibshirani,
An Introduction to the Bootstrap, 1993, chapters 8 and 13). Intervals are 95% percentile intervals. With few
questions they are slightly too narrow: by about √((N-1)/N), and by using normal instead of t quantiles. Below
`interval.FEWEST` questions there is none, and no share of resamples counts as a confidence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import msgspec
import numpy as np
from numpy.typing import NDArray

from dami_merge.errors import InputRefused, Problem
from dami_merge.evaluation.statistics.interval import FEWEST, LEVEL, Interval
from dami_merge.evaluation.statistics.point import Point, ascending
from dami_merge.evaluation.statistics.table import Floats, Table, exact_means
from dami_merge.lambdas import label

RESAMPLES = 2000

_BLOCK = 1 << 22


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The difference between two λ on their shared questions: `stop` minus `start`.

    Attributes:
        start: Reference λ.
        stop: λ that is compared with it.
        questions: Number of questions that all λ of the same resamples share.
        accuracy: Difference in accuracy.
        accuracy_interval: 95% interval of `accuracy`; None, like the other intervals, for fewer than
            `interval.FEWEST` questions and for published points.
        tokens: Difference in mean tokens.
        tokens_interval: 95% interval of `tokens`.
        tokens_ratio: Mean tokens divided by those of `start`; 0.77 is 23% fewer. None if `start` has no
            tokens in the data or in a resample.
        tokens_ratio_interval: 95% interval of `tokens_ratio`.
    """

    start: Fraction
    stop: Fraction
    questions: int
    accuracy: float
    accuracy_interval: Interval | None
    tokens: float
    tokens_interval: Interval | None
    tokens_ratio: float | None
    tokens_ratio_interval: Interval | None


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Means over B resamples of the shared questions.

    Attributes:
        questions: N, the number of questions that all λ have.
        points: Measured means on those questions, one point for each λ, ascending.
        accuracy: Mean accuracy of each resample, shape [B, Λ].
        tokens: Mean tokens of each resample, shape [B, Λ].
        opened: Mean share of answers with a thinking block, shape [B, Λ].
        closed: Mean share of answers with a closed thinking block, shape [B, Λ].
        published: Whether the points are published numbers; B is then 1, and its only row holds the points.
    """

    questions: int
    points: tuple[Point, ...]
    accuracy: Floats
    tokens: Floats
    opened: Floats
    closed: Floats
    published: bool = False

    @property
    def few(self) -> bool:
        """Whether there are too few questions for an interval or a confidence."""
        return not self.published and self.questions < FEWEST

    def interval(self, values: Floats) -> Interval | None:
        """Return the 95% interval of values, shape [B]; None for few questions or published points."""
        return None if self.few or self.published else percentiles(values)

    def confidence(self, holds: NDArray[np.bool_] | np.bool_) -> float | None:
        """Return the share of resamples in which something holds, shape [B]; None as for `interval`."""
        return None if self.few or self.published else float(np.mean(holds))

    def column(self, lam: Fraction) -> int:
        """Return the column of a λ.

        Raises:
            InputRefused: The λ was not resampled.
        """
        for place, point in enumerate(self.points):
            if point.lam == lam:
                return place
        raise InputRefused([Problem("lambda", f"λ = {label(lam)} was not resampled")])

    def difference(self, start: Fraction, stop: Fraction) -> Difference:
        """Compare any two λ.

        Raises:
            InputRefused: A λ was not resampled.
        """
        before, after = self.column(start), self.column(stop)
        low, high = self.points[before], self.points[after]
        ratio = bool(low.tokens > 0 and self.tokens[:, before].min() > 0)
        return Difference(
            start=start,
            stop=stop,
            questions=self.questions,
            accuracy=high.accuracy - low.accuracy,
            accuracy_interval=self.interval(self.accuracy[:, after] - self.accuracy[:, before]),
            tokens=high.tokens - low.tokens,
            tokens_interval=self.interval(self.tokens[:, after] - self.tokens[:, before]),
            tokens_ratio=high.tokens / low.tokens if ratio else None,
            tokens_ratio_interval=self.interval(self.tokens[:, after] / self.tokens[:, before])
            if ratio
            else None,
        )


def resample(table: Table, *, seed: int, resamples: int = RESAMPLES) -> Resamples:
    """Draw questions with replacement, the same questions for every λ.

    Args:
        table: Only the questions that all its λ have are used; `Table.at` drops λ.
        seed: Seed of the draws; beside `resamples` and the numbers in the table, nothing else matters.
        resamples: Number of resamples B, at least 1.

    Raises:
        InputRefused: The λ share no question, or `resamples` is below 1.

    Peak memory: 32 MiB for each of three arrays of draws, or one resample if that is larger, plus 4·B·Λ
    floats.
    """
    shared = table.shared()
    count = len(shared.questions)
    problems = []
    if not count:
        fact = f"no question has an answer at all {len(table.lambdas)} λ"
        problems.append(Problem("shared", fact, "finish the sweep, or compare fewer λ"))
    if resamples < 1:
        problems.append(Problem("resamples", f"the number of resamples is {resamples}, must be at least 1"))
    if problems:
        raise InputRefused(problems)
    sums = (shared.opened, shared.closed, shared.correct, shared.length_sums)
    means, scales = zip(*(exact_means(each, shared.samples) for each in sums), strict=True)
    columns = np.hstack(means)
    columns = columns[np.lexsort(columns.T)]  # draws must not depend on the names or the order of questions
    divisor = np.repeat([count * scale for scale in scales], len(table.lambdas))
    drawn = np.vstack(
        [each @ columns for each in question_draws(count, resamples, np.random.default_rng(seed))]
    )
    opened, closed, right, length = np.hsplit(drawn / divisor, len(sums))
    points = _points(shared.lambdas, columns.sum(axis=0) / divisor)
    return Resamples(count, points, right, length, opened, closed)


def published(points: Sequence[Point], questions: int = 0) -> Resamples:
    """Return published points, which have no rollouts, in the form of one resample.

    Args:
        points: Points in any order.
        questions: Number of their questions, if it is known.

    Raises:
        InputRefused: There are no points, or two points have the same λ.
    """
    path = ascending(points)
    rows = [
        (point.accuracy, point.tokens, *(share or 0.0 for share in (point.opened, point.closed)))
        for point in path
    ]
    accuracy, tokens, opened, closed = (np.array([column]) for column in zip(*rows, strict=True))
    return Resamples(questions, path, accuracy, tokens, opened, closed, published=True)


def percentiles(values: Floats) -> Interval:
    """Return the middle 95% of resampled values, shape [B]."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def question_draws(questions: int, resamples: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each question is drawn: shape [b, N], all b add up to B; float64 for the product."""
    rows = max(1, _BLOCK // questions)
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        drawn = generator.integers(questions, size=(count, questions))
        drawn += np.arange(count)[:, None] * questions
        counts = np.bincount(drawn.ravel(), minlength=count * questions)
        yield counts.reshape(count, questions).astype(np.float64)


def _points(lambdas: Sequence[Fraction], means: Floats) -> tuple[Point, ...]:
    """Return points of means in the order of `resample`, shape [4Λ]."""
    columns = [column.tolist() for column in np.hsplit(means, 4)]
    return tuple(
        Point(lam, accuracy, tokens, closed, opened)
        for lam, opened, closed, accuracy, tokens in zip(lambdas, *columns, strict=True)
    )
