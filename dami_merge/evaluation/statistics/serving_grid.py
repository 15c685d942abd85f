"""The smallest set of λ worth serving. Knows points, not checkpoints."""

import math
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from dami_merge.errors import InputRefused, Problem
from dami_merge.evaluation.statistics.pareto import frontier
from dami_merge.evaluation.statistics.point import Point

LOSS = 0.01
"""One percentage point of accuracy. Source: ours."""

_ROUNDING = 1e-9
"""Tolerance for rounding: 0.66 - 0.65 is above 0.01 in floats."""


class ServingGrid(msgspec.Struct, frozen=True, kw_only=True):
    """The λ to serve.

    Attributes:
        lambdas: Chosen λ, ascending.
        allowed: Allowed loss of accuracy.
        loss: Largest loss of accuracy at any budget.
    """

    lambdas: tuple[Fraction, ...]
    allowed: float
    loss: float


def serving_grid(points: Sequence[Point], *, loss: float = LOSS) -> ServingGrid:
    """Find the smallest set of λ that is nearly as good as all of them at every token budget.

    At a budget t, a set reaches A(t), the largest accuracy of its λ with mean tokens of at most t: one λ
    serves all queries; nothing is mixed. At every t at which any λ fits, some λ of the set must fit too, and
    the set's A(t) must be within `loss` of the A(t) of all λ. So the cheapest λ of the frontier is always in
    the set.

    Among the smallest sets, one whose largest loss is smallest is returned. All its members are on the
    frontier: a λ that dominates a member serves at least as well.

    Args:
        points: Points in any order.
        loss: Allowed loss of accuracy, in [0, 1].

    Raises:
        InputRefused: There are no points, two points have the same λ, or `loss` is outside [0, 1].
    """
    if not 0 <= loss <= 1:
        raise InputRefused(
            [Problem("loss", f"a loss of {loss} is outside [0, 1]", "0.01 is one percentage point")]
        )
    front = frontier(points)
    steps = {b.accuracy - a.accuracy for i, a in enumerate(front) for b in front[i + 1 :]}
    smallest = len(_cover(front, loss))
    tried = (_cover(front, step) for step in sorted({0.0, *(step for step in steps if step < loss), loss}))
    chosen = next(cover for cover in tried if len(cover) == smallest)
    return ServingGrid(
        lambdas=tuple(sorted(point.lam for point in chosen)), allowed=loss, loss=_largest_loss(front, chosen)
    )


def _cover(front: Sequence[Point], loss: float) -> list[Point]:
    """Choose greedily from the cheapest: the next member is the first point out of reach of the last.

    No set is smaller: a point out of reach needs a further member that uses no more tokens than it, and none
    of those reaches further than the point itself.
    """
    chosen: list[Point] = []
    reach = -math.inf
    for point in front:
        if point.accuracy > reach:
            chosen.append(point)
            reach = point.accuracy + loss + _ROUNDING
    return chosen


def _largest_loss(front: Sequence[Point], chosen: Sequence[Point]) -> float:
    return max(
        point.accuracy - max(each.accuracy for each in chosen if each.tokens <= point.tokens)
        for point in front
    )
