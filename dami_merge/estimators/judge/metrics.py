"""The field's metrics of a router's whole curve: accuracy against tokens as its dial turns.

All take the points of a router, one for each setting of its dial, and are computed between the means of λ =
0 and λ = 1 on the same queries. λ = 0 without an estimator is a point of every router, since anybody can
choose it; λ = 1 is none. Nothing is clipped unless it says so.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from dami_merge.estimators.examples import Flags, Numbers


class CurveMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one router's curve.

    Attributes:
        audc: Area under the curve of accuracy over tokens, from the tokens of λ = 0 to those of λ = 1, over
            that distance: a mean accuracy (area under the deferral curve; UniRoute, R2-Router).
        qnc: Fewest tokens at which the accuracy of λ = 1 is reached, as a share of its tokens (cost at equal
            quality; UniRoute, R2-Router); None if it never is.
        apgr: Mean share of the gap in accuracy between λ = 0 and λ = 1 that is recovered, over the share of
            tokens (average performance gap recovered; RouteLLM, arXiv 2406.18665, with tokens for calls).
        cpt50: Share of the tokens between λ = 0 and λ = 1 that recovers half of the gap; None if none does
            (call-performance threshold; RouteLLM). May be negative.
        cpt80: The same for 80% of the gap.
        hypervolume: Area that the points dominate, with the tokens from λ = 0 to λ = 1 as 0 to 1, from the
            corner of accuracy 0 and the tokens of λ = 1 (RADAR, arXiv 2509.25426).
    """

    audc: float
    qnc: float | None
    apgr: float
    cpt50: float | None
    cpt80: float | None
    hypervolume: float


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """Means of λ = 0 and λ = 1: accuracy and tokens."""

    low: tuple[float, float]
    high: tuple[float, float]


def curve_metrics(accuracy: Numbers, tokens: Numbers, ends: Ends) -> CurveMetrics:
    """Compute all metrics.

    Args:
        accuracy: Accuracy of each setting of the dial, shape [P].
        tokens: Mean tokens of each, shape [P].
        ends: The two models without a router.
    """
    (low_accuracy, low_tokens), (high_accuracy, high_tokens) = ends.low, ends.high
    accuracy, tokens = _frontier(np.append(accuracy, low_accuracy), np.append(tokens, low_tokens))
    span = high_tokens - low_tokens
    grid = np.linspace(low_tokens, high_tokens, 1001)
    height = np.interp(grid, tokens, accuracy)
    mean = float((height[1:] + height[:-1]).mean() / 2) if span > 0 else float(height[-1])
    gap = high_accuracy - low_accuracy
    shares = (tokens - low_tokens) / span if span > 0 else np.zeros(len(tokens))
    qnc = _first(tokens, accuracy >= high_accuracy)
    steps = np.clip(shares, 0.0, 1.0)
    inside = np.append(np.diff(np.append(steps, 1.0)), 0.0)[: len(steps)]
    return CurveMetrics(
        audc=mean,
        qnc=None if qnc is None or high_tokens <= 0 else qnc / high_tokens,
        apgr=(mean - low_accuracy) / gap if gap > 0 else 0.0,
        cpt50=_first(shares, accuracy >= low_accuracy + 0.5 * gap),
        cpt80=_first(shares, accuracy >= low_accuracy + 0.8 * gap),
        hypervolume=float((inside * accuracy).sum()),
    )


def _frontier(accuracy: Numbers, tokens: Numbers) -> tuple[Numbers, Numbers]:
    """The points by ascending tokens, each with the best accuracy up to it."""
    order = np.lexsort((-accuracy, tokens))
    return np.maximum.accumulate(accuracy[order]), tokens[order]


def _first(values: Numbers, holds: Flags) -> float | None:
    places = np.flatnonzero(holds)
    return float(values[places[0]]) if len(places) else None


def auroc(signal: Numbers, positive: Flags, weights: Numbers | None = None) -> float | None:
    """The probability that a signal is higher on a positive than on a negative query; ties count half.

    Args:
        signal: Shape [N].
        positive: Shape [N].
        weights: Weight of each query, shape [N]; None means 1.

    Returns:
        None if all queries, by weight, are positive or none is.
    """
    own = np.ones(len(signal)) if weights is None else weights
    order = np.argsort(signal, kind="stable")
    values, starts = np.unique(signal[order], return_index=True)
    up = np.add.reduceat((own * positive)[order], starts) if len(values) else np.zeros(0)
    down = np.add.reduceat((own * ~positive)[order], starts) if len(values) else np.zeros(0)
    total = up.sum() * down.sum()
    if not total > 0:
        return None
    below = np.cumsum(down) - down
    return float((up * (below + down / 2)).sum() / total)


def brier(predicted: Numbers, measured: Numbers) -> float:
    """Brier score of single answers: mean squared distance between probabilities and 0 or 1.

    Args:
        predicted: Probabilities, of any shape.
        measured: Shares of correct answers, of the same shape.
    """
    return float(((predicted - measured) ** 2 + measured * (1 - measured)).mean())


def calibration_error(predicted: Numbers, measured: Numbers, bins: int = 10) -> float:
    """Expected calibration error: mean distance between probability and share, over bins of equal width."""
    places = np.minimum((predicted * bins).astype(np.int64), bins - 1).ravel()
    count = np.bincount(places, minlength=bins)
    said = np.bincount(places, weights=predicted.ravel(), minlength=bins)
    found = np.bincount(places, weights=measured.ravel(), minlength=bins)
    return float(np.abs(said - found).sum() / max(count.sum(), 1))


def entropy(shares: Numbers) -> float:
    """Entropy of a histogram in bits: 0 if every query gets the same λ."""
    used = shares[shares > 0]
    return abs(float((used * np.log2(used)).sum()))


def rank_correlation(first: Numbers, second: Numbers) -> float | None:
    """Spearman's rank correlation, with mean ranks for ties; None if one of them is constant."""
    one, two = _ranks(first), _ranks(second)
    if one.std() == 0 or two.std() == 0:
        return None
    return float(np.corrcoef(one, two)[0, 1])


def _ranks(values: Numbers) -> Numbers:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Numbers = (last - (count - 1) / 2)[place]
    return ranks
