"""The few λ that are worth serving. Knows points, not checkpoints."""

import math
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from dami_merge.errors import InputRefused, Problem
from dami_merge.evaluation.statistics.pareto import frontier
from dami_merge.evaluation.statistics.point import Point

LOSS = 0.01
"""One point of accuracy. Source: ours."""

_ROUNDING = 1e-9
"""0.66 - 0.65 is above 0.01 in floats."""


class ServingGrid(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve.

    Attributes:
        lambdas: Ascending.
        allowed: The loss of accuracy that was allowed.
        loss: The largest loss that it has at any budget.
    """

    lambdas: tuple[Fraction, ...]
    allowed: float
    loss: float


def serving_grid(points: Sequence[Point], *, loss: float = LOSS) -> ServingGrid:
    """The smallest set of λ that is nearly as good as all of them at every token budget.

    At a budget t a set reaches A(t), the largest accuracy of its λ with mean tokens of at most t: one λ
    serves all queries; nothing is mixed. The set must have, at every t at which any λ fits, a λ that fits
    too, and A(t) within `loss` of that of all λ. So the cheapest λ of the frontier is always in it.

    Of the smallest sets one with the smallest largest loss is taken. All its members are on the frontier:
    whatever dominates a member serves as well.

    Args:
        points: In any order.
        loss: Of accuracy, in [0, 1].

    Raises:
        InputRefused: There is no point, two are of one λ, or `loss` is no share.
    """
    if not 0 <= loss <= 1:
        raise InputRefused([Problem("loss", f"a loss of {loss} is outside [0, 1]", "0.01 is one point")])
    front = frontier(points)
    steps = {b.accuracy - a.accuracy for i, a in enumerate(front) for b in front[i + 1 :]}
    smallest = len(_cover(front, loss))
    tried = (_cover(front, step) for step in sorted({0.0, *(step for step in steps if step < loss), loss}))
    chosen = next(cover for cover in tried if len(cover) == smallest)
    return ServingGrid(
        lambdas=tuple(sorted(point.lam for point in chosen)), allowed=loss, loss=_largest_loss(front, chosen)
    )


def _cover(front: Sequence[Point], loss: float) -> list[Point]:
    """Greedy from the cheapest: the next member is the first point that is out of reach of the last.

    No set is smaller: what is out of reach needs a further member no dearer than it, and none of those
    reaches further than itself.
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
