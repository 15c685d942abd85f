"""One λ as a point: accuracy against tokens. What a published table has, and all that Pareto maths needs."""

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction

import msgspec

from dami_merge.errors import InputRefused, Problem
from dami_merge.lambdas import label


class Point(msgspec.Struct, frozen=True):
    """Mean of the questions at one λ.

    Attributes:
        lam: Which; `lambda` in JSON.
        accuracy: In [0, 1].
        tokens: Mean generated tokens.
        closed: Share of answers with a closed thinking block; None where it was not measured.

    Raises:
        InputRefused: A number is not finite, negative, or a share above 1.
    """

    lam: Fraction = msgspec.field(name="lambda")
    accuracy: float
    tokens: float
    closed: float | None = None

    def __post_init__(self) -> None:
        problems = [
            Problem("point", f"λ = {label(self.lam)} has the {name} {value}, outside [0, {limit}]", hint)
            for name, value, limit, hint in (
                ("accuracy", self.accuracy, 1, "a share, not a percentage"),
                ("tokens", self.tokens, math.inf, ""),
                ("closed share", self.closed, 1, "a share, not a percentage"),
            )
            if value is not None and not (0 <= value <= limit and math.isfinite(value))
        ]
        if problems:
            raise InputRefused(problems)


def ascending(points: Iterable[Point]) -> tuple[Point, ...]:
    """Points in the order of λ.

    Raises:
        InputRefused: There is none, or two of one λ.
    """
    found = sorted(points, key=lambda point: point.lam)
    if not found:
        raise InputRefused([Problem("empty", "there is no point", "give one for each λ")])
    twice = {a.lam for a, b in itertools.pairwise(found) if a.lam == b.lam}
    if twice:
        raise InputRefused(
            [Problem("duplicate", f"λ = {label(lam)} is there twice") for lam in sorted(twice)]
        )
    return tuple(found)
