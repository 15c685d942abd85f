"""Whether a single λ can replace Thinking: fewer tokens, and an accuracy that is shown to be equal."""

import math
from collections.abc import Sequence

import msgspec

from dami_merge.evaluation.statistics.bootstrap import Difference
from dami_merge.evaluation.statistics.interval import LEVEL, Interval

MARGIN = 0.03
"""Largest difference between accuracies that count as equal; the whole interval must say so. Source: ours."""

SAVING = 0.05
"""Smallest part of the tokens that counts as a saving. Source: ours."""

FEWEST_FOR_EQUAL = math.ceil(math.log((1 - LEVEL) / 2) / math.log(1 - MARGIN))
"""Fewest questions that can show equality. With fewer, a kind of question that makes up `MARGIN` of all, and
on which two λ differ, is missing in more than 2.5% of all choices of questions, and no interval shows it."""


class Rival(msgspec.Struct, frozen=True, kw_only=True):
    """A λ that clearly uses fewer tokens than λ = 1, and is not clearly less accurate.

    Attributes:
        difference: The λ, `stop`, against λ = 1, `start`.
        equal: Whether it is shown to be at least as accurate: the interval of the difference lies above 0, or
            above -`MARGIN` with at least `FEWEST_FOR_EQUAL` questions. Of published points, which have no
            interval, the difference itself must.
        needed: If it is not shown, about how many questions would narrow the interval to ±`MARGIN`.
    """

    difference: Difference
    equal: bool
    needed: int | None


def rival(against_thinking: Sequence[Difference]) -> Rival | None:
    """Choose the λ to serve instead of Thinking.

    Args:
        against_thinking: Each λ against λ = 1.

    Returns:
        Of the λ that are shown to be as accurate, the one with the fewest tokens. If there is none, of those
        that are not clearly less accurate, the most accurate. None if there are none of those either.
    """
    saving = [(each.tokens_ratio or 0.0, each) for each in against_thinking if _saves(each)]
    equal = [pair for pair in saving if _equal(pair[1])]
    if equal:
        return Rival(difference=min(equal, key=lambda pair: pair[0])[1], equal=True, needed=None)
    open_ = [
        each for _, each in saving if each.accuracy_interval is not None and each.accuracy_interval.high >= 0
    ]
    if not open_:
        return None
    best = max(open_, key=lambda each: (each.accuracy, -each.tokens))
    assert best.accuracy_interval is not None, "selected above"  # noqa: S101
    return Rival(
        difference=best, equal=False, needed=questions_needed(best.questions, best.accuracy_interval)
    )


def questions_needed(questions: int, interval: Interval) -> int:
    """Estimate how many questions narrow an interval to ±`MARGIN`, rounded up to two digits.

    Intervals narrow with the square root of the number of questions.

    Args:
        questions: Number of questions behind `interval`.
        interval: Interval of a difference of accuracies.
    """
    half = (interval.high - interval.low) / 2
    needed = max(FEWEST_FOR_EQUAL, math.ceil(questions * (half / MARGIN) ** 2), questions + 1)
    unit: int = 10 ** max(len(str(needed)) - 2, 0)
    return math.ceil(needed / unit) * unit


def within_margin(interval: Interval, questions: int) -> bool:
    """Return whether an interval shows a difference of at most `MARGIN` in either direction."""
    return questions >= FEWEST_FOR_EQUAL and max(-interval.low, interval.high) <= MARGIN


def _saves(each: Difference) -> bool:
    if each.tokens_ratio is None or each.tokens_ratio > 1 - SAVING:
        return False
    return each.tokens_interval is None or each.tokens_interval.high < 0


def _equal(each: Difference) -> bool:
    if each.accuracy_interval is None:
        return each.accuracy >= -MARGIN
    if each.accuracy_interval.low > 0:
        return True
    return each.questions >= FEWEST_FOR_EQUAL and each.accuracy_interval.low >= -MARGIN
