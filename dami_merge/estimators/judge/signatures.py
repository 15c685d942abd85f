"""The failures that the paper names, looked for in the λ that were chosen.

They are: λ near 0 on hard queries, near 1 on easy ones, and no order between.
"""

import msgspec
import numpy as np

from dami_merge.estimators.examples import Examples, Flags, Numbers
from dami_merge.estimators.judge.metrics import rank_correlation
from dami_merge.estimators.judge.routing import Routing

_LOW, _HIGH = 0.25, 0.75
"""λ up to `_LOW` is near 0, and from `_HIGH` on near 1; the same limits make an accuracy low or high. Source:
ours."""

_MOST = 0.5
"""Share of hard queries near 0, or of easy ones near 1, that counts as a failure. Source: ours."""

_ORDER = 0.2
"""Rank correlation of λ with need below which the choice counts as incoherent. Source: ours."""


class Signatures(msgspec.Struct, frozen=True, kw_only=True):
    """How λ follow what queries need.

    Attributes:
        hard: Number of hard queries: λ = 0 answers at most a quarter, λ = 1 at least three quarters.
        low_on_hard: Share of them that gets a λ up to 0.25; None if there are none.
        easy: Number of easy queries: λ = 0 answers at least three quarters, and no worse than λ = 1.
        high_on_easy: Share of them that gets a λ from 0.75 on; None if there are none.
        order: Spearman's rank correlation of the mean λ with the need; None if one of them is constant.
    """

    hard: int
    low_on_hard: float | None
    easy: int
    high_on_easy: float | None
    order: float | None

    @property
    def failures(self) -> tuple[str, ...]:
        """The failures in words; none is good."""
        found = []
        if self.low_on_hard is not None and self.low_on_hard > _MOST:
            found.append(f"λ near 0 on hard queries ({self.low_on_hard:.0%} of {self.hard:,})")
        if self.high_on_easy is not None and self.high_on_easy > _MOST:
            found.append(f"λ near 1 on easy queries ({self.high_on_easy:.0%} of {self.easy:,})")
        if self.order is not None and self.order < _ORDER:
            found.append(f"λ does not follow need (rank correlation {self.order:+.2f})")
        return tuple(found)


def need(examples: Examples) -> Numbers:
    """How much a query loses below λ = 1: accuracy at λ = 1 minus the mean accuracy of all λ, shape [N].

    Near 0 for queries that every λ answers, and for those that none does; below 0 where thinking hurts. It is
    a mean of all cells, not the place of a maximum, so that it has little noise and no bias. Source: ours.
    """
    lost: Numbers = examples.accuracy[:, -1] - examples.accuracy.mean(axis=1)
    return lost


def signatures(examples: Examples, routing: Routing) -> Signatures:
    """Look for the failures in a routing."""
    path = np.array([float(lam) for lam in examples.lambdas])
    without, with_ = examples.accuracy[:, 0], examples.accuracy[:, -1]
    hard, easy = (without <= _LOW) & (with_ >= _HIGH), (without >= _HIGH) & (without >= with_)
    return Signatures(
        hard=int(hard.sum()),
        low_on_hard=_among(routing.shares[:, path <= _LOW], hard),
        easy=int(easy.sum()),
        high_on_easy=_among(routing.shares[:, path >= _HIGH], easy),
        order=rank_correlation(routing.shares @ path, need(examples)),
    )


def _among(shares: Numbers, queries: Flags) -> float | None:
    return float(shares[queries].sum(axis=1).mean()) if queries.any() else None
