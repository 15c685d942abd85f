"""Every λ between the ends against mixing the ends: a share of the queries to one, the rest to the other."""

from fractions import Fraction

import msgspec
import numpy as np

from dami_merge.evaluation.statistics.bootstrap import Resamples
from dami_merge.evaluation.statistics.interval import Interval
from dami_merge.evaluation.statistics.table import Floats


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """What a λ gains over the best mixture of both ends that uses no more tokens.

    Attributes:
        lam: λ; named `lambda` in JSON.
        queries: Share of the queries that the mixture sends to the last λ.
        gain: Accuracy of the λ minus that of the mixture. If the λ uses fewer tokens than either end, no
            mixture is as cheap, and the cheaper end stands for it.
        interval: 95% interval of `gain`; None for published points and for few questions.
        confidence: Share of resamples in which `gain` is above 0; None as for `interval`.
    """

    lam: Fraction = msgspec.field(name="lambda")
    queries: float
    gain: float
    interval: Interval | None
    confidence: float | None


def gains(drawn: Resamples) -> tuple[Gain, ...]:
    """Compare every λ between the first and the last with mixing these two."""
    accuracy = np.array([[point.accuracy for point in drawn.points]])
    tokens = np.array([[point.tokens for point in drawn.points]])
    queries, mixed = _mixture(accuracy, tokens)
    drawn_gains = gain_matrix(drawn)
    return tuple(
        Gain(
            lam=point.lam,
            queries=float(queries[0, place]),
            gain=float(accuracy[0, place] - mixed[0, place]),
            interval=drawn.interval(drawn_gains[:, place - 1]),
            confidence=drawn.confidence(drawn_gains[:, place - 1] > 0),
        )
        for place, point in enumerate(drawn.points)
        if 0 < place < len(drawn.points) - 1
    )


def gain_matrix(drawn: Resamples) -> Floats:
    """Return the gains of all λ between the ends in every resample, shape [B, Λ-2]."""
    difference: Floats = (drawn.accuracy - _mixture(drawn.accuracy, drawn.tokens)[1])[:, 1:-1]
    return difference


def _mixture(accuracy: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """Return the share of queries for the last λ, and the accuracy, both of shape [B, Λ].

    More queries go to the end with more tokens only if it is more accurate, as far as the tokens of each λ
    allow.
    """
    last_is_dear = tokens[:, -1:] >= tokens[:, :1]
    cheap, dear = (np.where(last_is_dear, *pair) for pair in ((tokens[:, :1], tokens[:, -1:]),
                                                              (tokens[:, -1:], tokens[:, :1])))  # fmt: skip
    low, high = (np.where(last_is_dear, *pair) for pair in ((accuracy[:, :1], accuracy[:, -1:]),
                                                            (accuracy[:, -1:], accuracy[:, :1])))  # fmt: skip
    apart = np.where(dear > cheap, dear - cheap, 1.0)
    part = np.where(dear > cheap, np.clip((tokens - cheap) / apart, 0, 1), tokens >= cheap)
    part = np.where(high > low, part, 0.0)
    mixed: Floats = low + part * (high - low)
    return np.where(last_is_dear, part, 1 - part), mixed
