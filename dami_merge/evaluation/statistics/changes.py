"""Where along λ a quantity changes: gradually, or most of it within one narrow stretch of λ."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from dami_merge.evaluation.statistics.bootstrap import Resamples
from dami_merge.evaluation.statistics.interval import LEVEL
from dami_merge.evaluation.statistics.table import Floats

Curve = Literal["opened", "closed", "tokens", "accuracy"]
ChangeForm = Literal["gradual", "abrupt", "coarse", "there and back"]
Stretch = tuple[int, int]
"""Places of two λ, the first below the second."""

MOST = 2 / 3
"""Smallest part of a change that makes a narrow stretch abrupt. Source: ours. Pairs that were measured: 0.36
in the widest narrow stretch of the bundled pair and 0.45 of Qwen3-4B-2507's accuracy; 0.84 of the accuracy of
a 135M pair that switches, and 0.99 of Qwen3-4B-2507's thinking blocks. In simulations of that 135M pair, a
switch is recognised in 43% of the sweeps with 24 questions, 77% with 48 and 97% with 100."""

NARROW = Fraction(1, 4)
"""Widest stretch that counts as narrow, as a part of the swept λ. Source: ours; a straight path has a quarter
of its change there."""

ONE_WAY = Fraction(1, 3)
"""Smallest difference between the ends, as a part of the whole change, of a quantity that goes one way.
Source: ours; 0.81 for the accuracy of the 135M pair that switches, 0.17 for that of Qwen3-4B-2507 on IFEval,
which dips."""

MATERIAL = 0.2
"""Smallest change that is looked at: of a share of answers, or of the most tokens. Source: ours."""

_NORMAL = NormalDist()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How one quantity changes over λ.

    Attributes:
        quantity: `opened` and `closed` are the shares of answers with a thinking block, and with one that its
            own tag closed.
        form: `there and back` if the ends differ by less than `ONE_WAY` of the change, so that λ between them
            lie above or below both. Else `abrupt` if a stretch of at most `NARROW` of the swept λ holds
            `MOST` of the change; `coarse` if a wider step between two neighbouring λ does, so that only more
            λ could tell; else `gradual`.
        start: First λ of the stretch: of the narrowest that holds `MOST`, or where none does, of that of at
            most `NARROW`, or one step, that holds the largest part.
        stop: Last λ of the stretch.
        share: Part of the change in the stretch: the difference between its ends, divided by the difference
            between the largest and the smallest value of all λ.
        confidence: Share of resamples of the same form, and if it is abrupt, with a stretch that overlaps
            this one; None for published points and for few questions.
    """

    quantity: Curve
    form: ChangeForm
    start: Fraction
    stop: Fraction
    share: float
    confidence: float | None


def changes(drawn: Resamples) -> tuple[Change, ...]:
    """Describe each quantity that changes at all, in the order of `Curve`.

    Shares and tokens must differ by `MATERIAL`. Accuracy counts as changed if that of some λ is clearly
    different from that of the first or of the last.

    Args:
        drawn: Resamples, or published points, of at least two λ.
    """
    if len(drawn.points) < 2:
        return ()
    found: list[Change] = []
    for quantity, values in _quantities(drawn).items():
        if _changed(drawn, quantity, values):
            found.append(_change(drawn, quantity, values))
    return tuple(found)


def distinct(differences: Floats, *, questions: int) -> NDArray[np.bool_]:
    """Return which of several differences, shape [B, n], are clear in the same direction.

    A difference is clear if it has one sign in 97.5% of the resamples. The rest is divided by their number n,
    since one of many is above by chance (Bonferroni), and expanded for few questions, whose resamples spread
    too little (Hesterberg, The American Statistician 69, 2015): the share must be Φ(√(N/(N-1)) t), where t
    is the quantile of Student's distribution with N - 1 degrees of freedom, in its expansion by Abramowitz
    and Stegun, 26.7.5. In our simulations of paths on which no λ gains anything over mixing the ends, one is
    called better in 1% to 4% of the sweeps with 16 to 100 questions, and in 7% of those with 12 questions
    and nine λ.

    Args:
        differences: Resampled differences.
        questions: N; below 2, nothing is expanded.
    """
    share = 1 - (1 - LEVEL) / 2 / max(differences.shape[1], 1)
    if questions > 1:
        free, z = questions - 1, _NORMAL.inv_cdf(share)
        t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        share = _NORMAL.cdf(t * math.sqrt(questions / free))
    either = np.maximum((differences > 0).mean(axis=0), (differences < 0).mean(axis=0))
    return np.asarray(either >= share)


def abrupt_stretches(drawn: Resamples, quantity: Curve) -> dict[Stretch, NDArray[np.bool_]]:
    """Return every narrow stretch with the resamples, shape [B], in which the change is abrupt there."""
    lambdas = [point.lam for point in drawn.points]
    values = _quantities(drawn)[quantity]
    forth = ~_back(values)
    shares = _shares(values, _stretches(lambdas))
    return {part: (share >= MOST) & forth for part, share in shares.items() if _narrow(lambdas, part)}


def overlap(one: Stretch, other: Stretch) -> bool:
    """Return whether two stretches share more than an end."""
    return one[0] < other[1] and other[0] < one[1]


def _quantities(drawn: Resamples) -> dict[Curve, Floats]:
    return {
        "opened": drawn.opened, "closed": drawn.closed, "tokens": drawn.tokens, "accuracy": drawn.accuracy
    }  # fmt: skip


def _measured(drawn: Resamples, quantity: Curve) -> Floats:
    """Return the values of the points themselves, shape [1, Λ]."""
    return np.array([[getattr(point, quantity) or 0.0 for point in drawn.points]])


def _changed(drawn: Resamples, quantity: Curve, values: Floats) -> bool:
    if quantity == "accuracy":
        others = values[:, 1:] - values[:, :1], values[:, :-1] - values[:, -1:]
        return bool(distinct(np.hstack(others), questions=drawn.questions).any())
    own = _measured(drawn, quantity)
    scale = float(own.max()) if quantity == "tokens" else 1.0
    return float(np.ptp(own)) > MATERIAL * scale


def _change(drawn: Resamples, quantity: Curve, values: Floats) -> Change:
    lambdas = [point.lam for point in drawn.points]
    parts = _stretches(lambdas)
    own = {part: float(share[0]) for part, share in _shares(_measured(drawn, quantity), parts).items()}
    most = [part for part in parts if own[part] >= MOST]
    if most:
        chosen = min(most, key=lambda part: (lambdas[part[1]] - lambdas[part[0]], -own[part]))
    else:
        chosen = max(parts, key=lambda part: own[part])
    form: ChangeForm = "gradual" if not most else "abrupt" if _narrow(lambdas, chosen) else "coarse"
    if _back(_measured(drawn, quantity))[0]:
        form = "there and back"
    there = _shares(values, parts)
    sharp = np.zeros((3, len(values)), dtype=np.bool_)  # abrupt at all, abrupt here, coarse
    for part, share in there.items():
        if _narrow(lambdas, part):
            sharp[0] |= share >= MOST
            sharp[1] |= (share >= MOST) & overlap(part, chosen)
        else:
            sharp[2] |= share >= MOST
    back = _back(values)
    forms = {
        "there and back": back,
        "abrupt": sharp[1] & ~back,
        "coarse": sharp[2] & ~sharp[0] & ~back,
        "gradual": ~sharp[0] & ~sharp[2] & ~back,
    }
    return Change(
        quantity=quantity,
        form=form,
        start=lambdas[chosen[0]],
        stop=lambdas[chosen[1]],
        share=own[chosen],
        confidence=drawn.confidence(forms[form]),
    )


def _back(values: Floats) -> NDArray[np.bool_]:
    """Return whether a quantity goes there and back, shape [B]."""
    return np.asarray(np.abs(values[:, -1] - values[:, 0]) < float(ONE_WAY) * np.ptp(values, axis=1))


def _narrow(lambdas: Sequence[Fraction], part: Stretch) -> bool:
    return lambdas[part[1]] - lambdas[part[0]] <= NARROW * (lambdas[-1] - lambdas[0])


def _stretches(lambdas: Sequence[Fraction]) -> list[Stretch]:
    """Return every narrow stretch, and every step between neighbours."""
    pairs = itertools.combinations(range(len(lambdas)), 2)
    return [part for part in pairs if part[1] == part[0] + 1 or _narrow(lambdas, part)]


def _shares(values: Floats, parts: Sequence[Stretch]) -> dict[Stretch, Floats]:
    """Return the part of the whole change in each stretch, shape [B]; 0 where nothing changes."""
    whole = np.ptp(values, axis=1)
    whole = np.where(whole > 0, whole, 1.0)
    return {(i, j): np.abs(values[:, j] - values[:, i]) / whole for i, j in parts}
