"""The smallest set of λ worth serving, with the confidence of each. Knows points, not checkpoints."""

import math
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from dami_merge.errors import InputRefused, Problem
from dami_merge.evaluation.statistics.bootstrap import Resamples
from dami_merge.evaluation.statistics.interval import LEVEL
from dami_merge.evaluation.statistics.pareto import frontier, pareto
from dami_merge.evaluation.statistics.point import Point

LOSS = 0.01
"""One percentage point of accuracy. Source: ours."""

_ROUNDING = 1e-9
"""Tolerance for rounding: 0.66 - 0.65 is above 0.01 in floats."""


CLEAR = (1 + LEVEL) / 2
"""Smallest share of resamples in which a difference has one sign that counts as clear: a 95% interval without
0 is as much on each side."""


SIMILAR = 0.05
"""Part of the tokens by which a λ may exceed a budget that another meets. Source: ours."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """One λ of a serving grid, or one that was left out since it may differ only by noise.

    Attributes:
        lam: λ; named `lambda` in JSON.
        frontier_share: Share of resamples in which it is on the frontier; None for points without rollouts.
        better_than: Member with the most tokens below its own; None for the cheapest.
        better_share: Share of resamples in which it is more accurate than `better_than`; None with that, and
            for points without rollouts.
    """

    lam: Fraction = msgspec.field(name="lambda")
    frontier_share: float | None
    better_than: Fraction | None
    better_share: float | None


class ServingGrid(msgspec.Struct, frozen=True, kw_only=True):
    """The λ to serve.

    Attributes:
        lambdas: Chosen λ, ascending.
        allowed: Allowed loss of accuracy.
        loss: Largest loss of accuracy at any budget.
        members: Confidence of each of `lambdas`, in their order.
        unclear: λ that would serve some budget better by more than `allowed`, if the measured difference
            were not within the noise, ascending.
    """

    lambdas: tuple[Fraction, ...]
    allowed: float
    loss: float
    members: tuple[Served, ...]
    unclear: tuple[Served, ...]


def serving_grid(
    points: Sequence[Point], *, loss: float = LOSS, resamples: Resamples | None = None
) -> ServingGrid:
    """Find the smallest set of λ that is nearly as good as all of them at every token budget.

    At a budget t, a set reaches A(t), the largest accuracy of its λ with mean tokens of at most t: one λ
    serves all queries; nothing is mixed. At every t at which any λ fits, some λ of the set must fit too, and
    the set's A(t) must be within `loss` of the A(t) of all λ. So the cheapest λ of the frontier is always in
    the set.

    Among the smallest sets, one whose largest loss is smallest is returned. All its members are on the
    frontier: a λ that dominates a member serves at least as well.

    With resamples, only λ that are clearly better take part: from the cheapest of the frontier on, each must
    be more accurate than the one before in `CLEAR` of the resamples. Of λ that are not clearly dearer than
    another, or by at most `SIMILAR`, the most accurate stands for all, so that no λ is chosen for a saving
    that nobody would notice. What the others would add is not counted in the loss; `unclear` names them.

    Args:
        points: Points in any order.
        loss: Allowed loss of accuracy, in [0, 1].
        resamples: Resamples that include these λ.

    Raises:
        InputRefused: There are no points, two points have the same λ, or `loss` is outside [0, 1].
    """
    if not 0 <= loss <= 1:
        raise InputRefused(
            [Problem("loss", f"a loss of {loss} is outside [0, 1]", "0.01 is one percentage point")]
        )
    whole = frontier(points)
    front = whole if resamples is None else _clear(whole, resamples)
    steps = {b.accuracy - a.accuracy for i, a in enumerate(front) for b in front[i + 1 :]}
    smallest = len(_cover(front, loss))
    tried = (_cover(front, step) for step in sorted({0.0, *(step for step in steps if step < loss), loss}))
    chosen = next(cover for cover in tried if len(cover) == smallest)
    confidence = _Confidence(points, chosen, resamples)
    left_out = [confidence.of(point) for point in whole if _lost(point, chosen, SIMILAR) > loss + _ROUNDING]
    doubtful = (each for each in left_out if each.better_share is not None and each.better_share < CLEAR)
    return ServingGrid(
        lambdas=tuple(sorted(point.lam for point in chosen)),
        allowed=loss,
        loss=max(_lost(point, chosen, 0) for point in front),
        members=tuple(sorted(map(confidence.of, chosen), key=lambda each: each.lam)),
        unclear=tuple(sorted(doubtful, key=lambda each: each.lam)),
    )


class _Confidence:
    """How sure each λ is, given the chosen ones."""

    def __init__(self, points: Sequence[Point], chosen: Sequence[Point], resamples: Resamples | None) -> None:
        self._chosen, self._resamples = chosen, resamples
        standings = pareto(points, resamples=resamples).standings
        self._shares = {each.lam: each.frontier_share for each in standings}

    def of(self, point: Point) -> Served:
        below = [each for each in self._chosen if each.tokens < point.tokens]
        before = max(below, key=lambda each: each.tokens, default=None)
        share = None
        if before is not None and self._resamples is not None:
            share = _better(self._resamples, point, before)
        return Served(
            lam=point.lam,
            frontier_share=self._shares[point.lam],
            better_than=None if before is None else before.lam,
            better_share=share,
        )


def _clear(front: Sequence[Point], resamples: Resamples) -> list[Point]:
    """Keep the points of a frontier that are clearly more accurate than the one kept before."""
    kept: list[Point] = []
    for place, point in enumerate(front):
        last = kept[-1] if kept else None
        if last is not None and (point.tokens <= last.tokens or _better(resamples, point, last) < CLEAR):
            continue
        similar = [each for each in front[place:] if each is point or _as_cheap(each, point, resamples)]
        kept.append(max(similar, key=lambda each: each.accuracy))
    return kept


def _better(resamples: Resamples, one: Point, other: Point) -> float:
    accuracy = resamples.accuracy
    return float((accuracy[:, resamples.column(one.lam)] > accuracy[:, resamples.column(other.lam)]).mean())


def _as_cheap(one: Point, other: Point, resamples: Resamples) -> bool:
    """Return whether one λ is not clearly dearer than another, or hardly."""
    tokens = resamples.tokens
    dearer = tokens[:, resamples.column(one.lam)] > tokens[:, resamples.column(other.lam)]
    return one.tokens <= (1 + SIMILAR) * other.tokens or float(dearer.mean()) < CLEAR


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


def _lost(point: Point, chosen: Sequence[Point], tolerance: float) -> float:
    """Return how much less accurate the best chosen λ is at the tokens of a point; 0 if none is as cheap."""
    reached = [each.accuracy for each in chosen if each.tokens <= (1 + tolerance) * point.tokens]
    return point.accuracy - max(reached, default=point.accuracy)
