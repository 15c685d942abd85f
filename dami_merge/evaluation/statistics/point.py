"""One λ as a point: accuracy against tokens. All that a published table gives and a frontier needs."""

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction

import msgspec

from dami_merge.errors import InputRefused, Problem
from dami_merge.lambdas import label


class Point(msgspec.Struct, frozen=True):
    """Means over the questions at one λ.

    Attributes:
        lam: λ; named `lambda` in JSON.
        accuracy: Mean accuracy in [0, 1].
        tokens: Mean generated tokens.
        closed: Share of answers with a closed thinking block; None if it was not measured.
        opened: Share of answers with a thinking block, however it ended; None if it was not measured.

    Raises:
        InputRefused: A number is negative or not finite, or a share is above 1.
    """

    lam: Fraction = msgspec.field(name="lambda")
    accuracy: float
    tokens: float
    closed: float | None = None
    opened: float | None = None

    def __post_init__(self) -> None:
        problems = [
            Problem("point", f"λ = {label(self.lam)}: {name} {value} is outside [0, {limit}]", hint)
            for name, value, limit, hint in (
                ("accuracy", self.accuracy, 1, "pass a share, not a percentage"),
                ("tokens", self.tokens, math.inf, ""),
                ("closed share", self.closed, 1, "pass a share, not a percentage"),
                ("opened share", self.opened, 1, "pass a share, not a percentage"),
            )
            if value is not None and not (0 <= value <= limit and math.isfinite(value))
        ]
        if problems:
            raise InputRefused(problems)


def ascending(points: Iterable[Point]) -> tuple[Point, ...]:
    """Sort points by λ.

    Raises:
        InputRefused: There are no points, or two points have the same λ.
    """
    found = sorted(points, key=lambda point: point.lam)
    if not found:
        raise InputRefused([Problem("empty", "there are no points", "pass one point for each λ")])
    twice = {a.lam for a, b in itertools.pairwise(found) if a.lam == b.lam}
    if twice:
        raise InputRefused(
            [Problem("duplicate", f"duplicate point at λ = {label(lam)}") for lam in sorted(twice)]
        )
    return tuple(found)
