"""Accuracy up, tokens down: which λ are worth having, and which are dominated by another λ.

A λ dominates another if it is at least as accurate, uses no more tokens, and is better in one of the two; if
both are equal, the smaller λ dominates. So at equal accuracy, fewer tokens win.
"""

from collections.abc import Sequence
from fractions import Fraction

import msgspec
import numpy as np
from numpy.typing import NDArray

from dami_merge.evaluation.statistics.bootstrap import Resamples
from dami_merge.evaluation.statistics.point import Point, ascending
from dami_merge.evaluation.statistics.table import Floats


class Standing(msgspec.Struct, frozen=True):
    """One λ compared with the others.

    Attributes:
        lam: λ; named `lambda` in JSON.
        dominated_by: λ on the frontier that dominate it, ascending; empty for a λ on the frontier.
        frontier_share: Share of resamples in which it is on the frontier; None for points without rollouts,
            and for fewer than `interval.FEWEST` questions.
    """

    lam: Fraction = msgspec.field(name="lambda")
    dominated_by: tuple[Fraction, ...]
    frontier_share: float | None


class Pareto(msgspec.Struct, frozen=True, kw_only=True):
    """Which λ are worth having.

    Attributes:
        frontier: λ that no other λ dominates, by ascending tokens and so by ascending accuracy. Each is the
            best single λ for a token budget from its own mean tokens up to those of the next.
        hull: λ at the corners of the upper left convex hull, in the same order. Sending a share of the
            queries to one λ and the rest to another reaches at most the lines between these corners.
        standings: Standing of every λ, ascending.
    """

    frontier: tuple[Fraction, ...]
    hull: tuple[Fraction, ...]
    standings: tuple[Standing, ...]


def pareto(points: Sequence[Point], *, resamples: Resamples | None = None) -> Pareto:
    """Compute the frontier, the hull, and which λ are dominated.

    Args:
        points: Points in any order.
        resamples: Resamples that include these λ.

    Raises:
        InputRefused: There are no points, two points have the same λ, or a λ was not resampled.
    """
    path = ascending(points)
    beats = [_dominators(*_arrays(path), place)[0] for place in range(len(path))]
    front = [place for place in range(len(path)) if not beats[place].any()]
    shares: list[float | None] = [None] * len(path)
    if resamples is not None:
        columns = [resamples.column(point.lam) for point in path]
        drawn = resamples.accuracy[:, columns], resamples.tokens[:, columns]
        shares = [resamples.confidence(~_dominators(*drawn, place).any(axis=1)) for place in range(len(path))]
    return Pareto(
        frontier=tuple(point.lam for point in frontier(path)),
        hull=tuple(point.lam for point in hull(path)),
        standings=tuple(
            Standing(point.lam, tuple(path[other].lam for other in front if beats[place][other]), share)
            for place, (point, share) in enumerate(zip(path, shares, strict=True))
        ),
    )


def frontier(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points that no other point dominates, by ascending tokens.

    Raises:
        InputRefused: There are no points, or two points have the same λ.
    """
    kept: list[Point] = []
    for point in sorted(ascending(points), key=lambda point: (point.tokens, -point.accuracy, point.lam)):
        if not kept or point.accuracy > kept[-1].accuracy:
            kept.append(point)
    return tuple(kept)


def hull(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the corners of the upper left convex hull, by ascending tokens.

    A point on the line between two others is not a corner.

    Raises:
        InputRefused: There are no points, or two points have the same λ.
    """
    corners: list[Point] = []
    for point in frontier(points):
        while len(corners) > 1 and not _bends_down(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    return tuple(corners)


def _dominators(accuracy: Floats, tokens: Floats, place: int) -> NDArray[np.bool_]:
    """Return whether each λ dominates λ number `place` in each resample, shape [B, Λ]; λ ascend."""
    own_accuracy, own_tokens = accuracy[:, place, None], tokens[:, place, None]
    smaller = np.arange(accuracy.shape[1]) < place
    better = (accuracy > own_accuracy) | (tokens < own_tokens) | smaller
    dominated: NDArray[np.bool_] = (accuracy >= own_accuracy) & (tokens <= own_tokens) & better
    return dominated


def _arrays(points: Sequence[Point]) -> tuple[Floats, Floats]:
    return np.array([[each.accuracy for each in points]]), np.array([[each.tokens for each in points]])


def _bends_down(first: Point, middle: Point, last: Point) -> bool:
    """Return whether the middle is strictly above the line; exact, so that lines are recognised."""
    (x1, y1), (x2, y2), (x3, y3) = (
        (Fraction(each.tokens), Fraction(each.accuracy)) for each in (first, middle, last)
    )
    return (y2 - y1) * (x3 - x1) > (y3 - y1) * (x2 - x1)
