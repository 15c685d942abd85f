"""What a sweep comes to: λ is a dial, a switch, no better than mixing the ends, or too few questions."""

from fractions import Fraction
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from dami_merge.evaluation.statistics.bootstrap import Difference, Resamples
from dami_merge.evaluation.statistics.changes import (
    Change,
    Curve,
    Stretch,
    abrupt_stretches,
    changes,
    distinct,
    overlap,
)
from dami_merge.evaluation.statistics.interval import LEVEL
from dami_merge.evaluation.statistics.mixing import Gain, gain_matrix, gains
from dami_merge.evaluation.statistics.rival import (
    FEWEST_FOR_EQUAL,
    MARGIN,
    Rival,
    questions_needed,
    rival,
    within_margin,
)

ConclusionKind = Literal[
    "dial", "switch", "mixture", "constant", "only ends", "none correct", "too few questions"
]


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """What to make of λ.

    Attributes:
        kind: The first of these that holds.
            `too few questions`: fewer than `interval.FEWEST`, or none of the others can be shown; `needed`
            then says how many.
            `none correct`: no answer is correct at any λ.
            `constant`: no λ differs from the first or the last by more than `MARGIN`.
            `switch`: accuracy changes abruptly, and so do, at the same place, thinking blocks or tokens.
            `only ends`: there is no λ between the first and the last.
            `dial`: λ between the ends are clearly more accurate than a mixture of the ends.
            `mixture`: no λ between the ends gains more than `MARGIN` over a mixture of the ends.
        confidence: Share of resamples in which the same holds; None where nothing is concluded and for
            published points. It must be 95% for a switch.
        start: Of a switch: the last λ before it.
        stop: Of a switch: the first λ after it.
        suspected: Share of resamples in which there is a switch, if that is above one half but less than
            95%; else None. Then nothing else is concluded.
        changes: How each quantity changes over λ.
        gains: Each λ between the ends against mixing the ends.
        better: λ whose gain is clear, ascending: above 0 in 97.5% of the resamples, corrected by
            `distinct` for the number of λ and of questions.
        rival: The λ to serve instead of Thinking; None if λ = 1 was not measured or nothing rivals it.
        needed: If there are too few questions, about how many would do; None if that cannot be estimated.
    """

    kind: ConclusionKind
    confidence: float | None
    start: Fraction | None = None
    stop: Fraction | None = None
    suspected: float | None = None
    changes: tuple[Change, ...] = ()
    gains: tuple[Gain, ...] = ()
    better: tuple[Fraction, ...] = ()
    rival: Rival | None = None
    needed: int | None = None


def conclude(drawn: Resamples) -> Conclusion:
    """Conclude from resamples, or from published points, of one or more λ."""
    if drawn.few:
        return Conclusion(kind="too few questions", confidence=None)
    if not any(point.accuracy for point in drawn.points):
        return Conclusion(kind="none correct", confidence=None, changes=changes(drawn))
    against = gain_matrix(drawn) if len(drawn.points) > 1 else np.empty((1, 0))
    clear = distinct(against, questions=drawn.questions) & (against.mean(axis=0) > 0)
    inner = [point.lam for point in drawn.points[1:-1]]
    shown = Conclusion(
        kind="dial",
        confidence=None,
        changes=changes(drawn),
        gains=gains(drawn),
        better=tuple(lam for lam, is_clear in zip(inner, clear, strict=True) if is_clear),
        rival=rival(_against_thinking(drawn)),
    )
    return _decided(drawn, shown, against[:, clear])


def _decided(drawn: Resamples, shown: Conclusion, better: NDArray[np.float64]) -> Conclusion:
    if not any(change.quantity == "accuracy" for change in shown.changes):
        return _without_change(drawn, shown)
    place, holds = _switch(drawn, shown)
    likely = float(holds.mean())
    if place is not None and likely >= LEVEL:
        ends = drawn.points[place[0]].lam, drawn.points[place[1]].lam
        return msgspec.structs.replace(
            shown, kind="switch", start=ends[0], stop=ends[1], confidence=drawn.confidence(holds)
        )
    if likely > 0.5:
        return msgspec.structs.replace(shown, kind="too few questions", suspected=drawn.confidence(holds))
    if len(drawn.points) == 2:
        return msgspec.structs.replace(shown, kind="only ends")
    if shown.better:
        confidence = drawn.confidence((better > 0).any(axis=1) & ~holds)
        return msgspec.structs.replace(shown, kind="dial", confidence=confidence)
    return _without_gain(drawn, shown)


def _switch(drawn: Resamples, shown: Conclusion) -> tuple[Stretch | None, NDArray[np.bool_]]:
    """Return where accuracy and behaviour change at once, and the resamples with that, shape [B]."""
    lambdas = [point.lam for point in drawn.points]
    abrupt: dict[Curve, Stretch] = {
        each.quantity: (lambdas.index(each.start), lambdas.index(each.stop))
        for each in shown.changes
        if each.form == "abrupt"
    }
    never = np.zeros(len(drawn.accuracy), dtype=np.bool_)
    right = abrupt.pop("accuracy", None)
    together = {name: part for name, part in abrupt.items() if right is not None and overlap(part, right)}
    if right is None or not together:
        return None, never
    first = min(right[0], *(part[0] for part in together.values()))
    last = max(right[1], *(part[1] for part in together.values()))

    def there(quantity: Curve) -> NDArray[np.bool_]:
        found = abrupt_stretches(drawn, quantity)
        hits = [holds for part, holds in found.items() if overlap(part, (first, last))]
        return np.logical_or.reduce(hits) if hits else never

    behaviour = np.logical_or.reduce([there(quantity) for quantity in together])
    return (first, last), there("accuracy") & behaviour


def _without_change(drawn: Resamples, shown: Conclusion) -> Conclusion:
    """Conclude where no λ is clearly more accurate than another: they are equal, or nobody can tell."""
    spread = np.hstack(
        [drawn.accuracy[:, 1:] - drawn.accuracy[:, :1], drawn.accuracy[:, :-1] - drawn.accuracy[:, -1:]]
    )
    intervals = [drawn.interval(column) for column in spread.T]
    known = [each for each in intervals if each is not None]
    if not known or all(within_margin(each, drawn.questions) for each in known):
        holds = (np.abs(spread) <= MARGIN).all(axis=1)
        return msgspec.structs.replace(shown, kind="constant", confidence=drawn.confidence(holds))
    widest = max(known, key=lambda each: each.high - each.low)
    return msgspec.structs.replace(
        shown, kind="too few questions", needed=questions_needed(drawn.questions, widest)
    )


def _without_gain(drawn: Resamples, shown: Conclusion) -> Conclusion:
    """Conclude where no λ is clearly better than mixing: none can be by much, or nobody can tell."""
    known = [(each.interval, each) for each in shown.gains if each.interval is not None]
    enough = drawn.questions >= FEWEST_FOR_EQUAL
    if not known or (enough and all(interval.high <= MARGIN for interval, _ in known)):
        confidence = drawn.confidence((gain_matrix(drawn) <= MARGIN).all(axis=1))
        return msgspec.structs.replace(shown, kind="mixture", confidence=confidence)
    interval, _ = max(known, key=lambda pair: pair[0].high)
    return msgspec.structs.replace(
        shown, kind="too few questions", needed=questions_needed(drawn.questions, interval)
    )


def _against_thinking(drawn: Resamples) -> tuple[Difference, ...]:
    thinking = Fraction(1)
    lambdas = [point.lam for point in drawn.points]
    if thinking not in lambdas:
        return ()
    return tuple(drawn.difference(thinking, lam) for lam in lambdas if lam != thinking)
