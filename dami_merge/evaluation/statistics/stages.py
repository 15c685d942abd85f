"""The three stages of a λ path: answers without a thinking block, the switch, and saturation.

"Revisiting Model Interpolation for Efficient Reasoning" (arXiv 2510.10977) describes the stages; the limits
are ours.
"""

from collections.abc import Sequence
from fractions import Fraction

import msgspec

from dami_merge.errors import InputRefused, Problem
from dami_merge.evaluation.statistics.point import Point, ascending
from dami_merge.lambdas import label

NO_THINKING = 0.05
"""Largest share of closed thinking blocks at which a λ counts as not thinking. Source: ours; Qwen3-4B-2507
has 0.014 where its switch begins and 0.6 one step later."""

SATURATED = 0.95
"""Smallest share at which a λ counts as always thinking. Source: ours; the same pair has 0.999 from the end
of its switch on."""


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """The λ of a path, split into stages; every λ is in exactly one of the tuples, ascending.

    Attributes:
        before: No thinking: [0, `start`).
        switch: [`start`, `stop`]: from the last λ that does not think to the first that always does.
        after: Saturation: (`stop`, 1].
        start: Largest λ such that its share and those of all smaller λ are at most `NO_THINKING`; None if
            that of the first λ is above.
        stop: Smallest λ such that its share and those of all larger λ are at least `SATURATED`; None if that
            of the last λ is below. If all λ are on one side, nothing switches, and `switch` is empty.
    """

    before: tuple[Fraction, ...]
    switch: tuple[Fraction, ...]
    after: tuple[Fraction, ...]
    start: Fraction | None
    stop: Fraction | None


def stages(points: Sequence[Point]) -> Stages:
    """Split a path into stages by the shares of closed thinking blocks.

    Args:
        points: Points in any order, each with `closed`.

    Raises:
        InputRefused: There are no points, two points have the same λ, or a point has no `closed`.
    """
    path = ascending(points)
    shares = [(point.lam, point.closed) for point in path if point.closed is not None]
    if len(shares) < len(path):
        missing = ", ".join(label(point.lam) for point in path if point.closed is None)
        raise InputRefused(
            [Problem("closed", f"the share of closed thinking blocks is missing at λ = {missing}")]
        )
    lambdas = [lam for lam, _ in shares]
    quiet = next((n for n, (_, share) in enumerate(shares) if share > NO_THINKING), len(shares))
    full = next((n for n, (_, share) in enumerate(reversed(shares)) if share < SATURATED), len(shares))
    start = lambdas[quiet - 1] if quiet else None
    stop = lambdas[-full] if full else None
    if len(shares) in {quiet, full}:
        first = last = quiet
    else:
        first, last = max(quiet - 1, 0), len(shares) - max(full - 1, 0)
    return Stages(
        before=tuple(lambdas[:first]),
        switch=tuple(lambdas[first:last]),
        after=tuple(lambdas[last:]),
        start=start,
        stop=stop,
    )
