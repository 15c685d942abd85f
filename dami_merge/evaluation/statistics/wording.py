"""How numbers are written in the sentences about a sweep."""

from collections.abc import Sequence
from fractions import Fraction

from dami_merge.evaluation.statistics.interval import LEVEL, Interval
from dami_merge.lambdas import label


def names(lambdas: Sequence[Fraction]) -> str:
    """List λ by their labels."""
    return ", ".join(label(lam) for lam in lambdas)


def token_count(count: float) -> str:
    """Write mean tokens: one decimal below 100, none above."""
    return f"{count:,.1f}" if count < 100 else f"{count:,.0f}"


def points(difference: float, interval: Interval | None) -> str:
    """Write a difference of accuracies in points, with its interval if it has one."""
    told = f"{100 * difference:+.1f} points"
    if interval is None:
        return told
    return f"{told} ({LEVEL:.0%} interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def resampled(confidence: float | None) -> str:
    """Write a share of resamples in brackets; nothing if there is none. Never rounds up to 100%."""
    if confidence is None:
        return ""
    return f" (in {share_of_resamples(confidence)} of resamples)"


def share_of_resamples(confidence: float) -> str:
    """Write a share without a digit that says more than resamples can: 100% only if all agree."""
    if 0.995 <= confidence < 1:
        return "more than 99%"
    return f"{confidence:.0%}"
