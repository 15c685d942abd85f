"""Find where accuracy or tokens fall although λ grows."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import msgspec

from dami_merge.evaluation.statistics.bootstrap import Resamples
from dami_merge.evaluation.statistics.interval import Interval
from dami_merge.evaluation.statistics.point import Point, ascending

Metric = Literal["accuracy", "tokens"]


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A fall in a metric between two λ.

    Attributes:
        start: The smaller λ.
        stop: The larger λ, where the metric is lower.
        metric: The metric that falls.
        drop: Size of the fall, above 0.
        interval: 95% interval of the drop; None for points without rollouts, and for fewer than
            `interval.FEWEST` questions.
        confidence: Share of resamples in which the metric falls too; None as for `interval`. It is somewhat
            too high: it is not corrected for the number of pairs, and the best λ before `stop` was
            chosen on the same data.
    """

    start: Fraction
    stop: Fraction
    metric: Metric
    drop: float
    interval: Interval | None
    confidence: float | None


def violations(points: Sequence[Point], *, resamples: Resamples | None = None) -> tuple[Violation, ...]:
    """Find every fall between neighbours, and to each λ from the best λ before it.

    Args:
        points: Points in any order. If several earlier λ are equally good, the nearest is used.
        resamples: Resamples of these λ; without them, a fall is a fact about the points and has no
            confidence.

    Returns:
        Falls in accuracy, then falls in tokens, both ordered by `stop`, then `start`; each pair once.

    Raises:
        InputRefused: There are no points, two points have the same λ, or a λ was not resampled.
    """
    path = ascending(points)
    found = []
    metrics: tuple[Metric, ...] = ("accuracy", "tokens")
    for metric in metrics:
        values = [_value(point, metric) for point in path]
        for before, after in sorted(_pairs(values), key=lambda pair: pair[::-1]):
            if values[before] > values[after]:
                drop = values[before] - values[after]
                found.append(_violation(path[before].lam, path[after].lam, metric, drop, resamples))
    return tuple(found)


def _pairs(values: Sequence[float]) -> set[tuple[int, int]]:
    best = {
        (max(range(after), key=lambda place: (values[place], place)), after)
        for after in range(1, len(values))
    }
    return best | set(itertools.pairwise(range(len(values))))


def _violation(
    start: Fraction, stop: Fraction, metric: Metric, drop: float, resamples: Resamples | None
) -> Violation:
    interval, confidence = None, None
    if resamples is not None:
        means = resamples.accuracy if metric == "accuracy" else resamples.tokens
        drops = means[:, resamples.column(start)] - means[:, resamples.column(stop)]
        interval, confidence = resamples.interval(drops), resamples.confidence(drops > 0)
    return Violation(
        start=start, stop=stop, metric=metric, drop=drop, interval=interval, confidence=confidence
    )


def _value(point: Point, metric: Metric) -> float:
    return point.accuracy if metric == "accuracy" else point.tokens
