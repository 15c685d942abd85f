"""A router's whole curve: the same fits with the dial turned from accuracy to thrift."""

from collections.abc import Sequence

import msgspec
import numpy as np

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples, Numbers, Places
from dami_merge.estimators.judge.headroom import utilities
from dami_merge.estimators.judge.judgement import Bench
from dami_merge.estimators.judge.metrics import CurveMetrics, Ends, curve_metrics
from dami_merge.estimators.judge.resampled import Figure95
from dami_merge.estimators.judge.routing import Routing, over_seeds, routed

PRICES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.5, 5.0, 20.0)
"""Settings of the dial: μ, in units of the estimator's own spread of values over the mean tokens of λ = 1."""

UTILITY_PRICES = (0.02, 0.1, 0.5)
"""μ of the utilities that are reported: accuracy minus μ times tokens in units of the mean of λ = 1."""


class DialPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of the dial.

    Attributes:
        price: μ, as in `PRICES`.
        accuracy: Mean accuracy.
        tokens: Mean tokens, those of the estimator included.
    """

    price: float
    accuracy: float
    tokens: float


class UtilityGain(msgspec.Struct, frozen=True, kw_only=True):
    """Utility of the router at one price, with its dial at that price.

    Attributes:
        mu: Price of the mean tokens of λ = 1, in accuracy.
        utility: Accuracy minus μ times tokens.
        over_static: Utility minus that of the static λ that is best in the same resample.
    """

    mu: float
    utility: float
    over_static: Figure95


class Dialled(msgspec.Struct, frozen=True, kw_only=True):
    """The curve of one estimator.

    Attributes:
        points: One for each setting, from accuracy to thrift.
        metrics: Metrics of the curve.
        utilities: At each of `UTILITY_PRICES`; only for estimators of success and tokens, whose values have
            the unit of accuracy.
    """

    points: tuple[DialPoint, ...]
    metrics: CurveMetrics
    utilities: tuple[UtilityGain, ...]


def priced(estimate: Estimate, mu: float, unit: float) -> Places:
    """The λ with the highest value minus μ times cost, for each query; the smaller of equal ones.

    Args:
        estimate: Predictions for n queries.
        mu: Price of `unit` tokens, in the unit of the values.
        unit: Tokens.
    """
    return np.asarray((estimate.value - mu * estimate.cost / unit).argmax(axis=1), dtype=np.int64)


def dialled(own: Bench, estimates: Sequence[tuple[Estimate, Numbers]]) -> Dialled:
    """Turn the dial of the fits of one estimator.

    Args:
        own: N measured queries.
        estimates: For each seed, predictions for the N queries at the same λ, and the tokens that they cost,
            shape [N].
    """
    examples, draws = own.examples, own.draws
    unit = max(float(draws.tokens[0, -1]), 1e-12)
    points = []
    for price in PRICES:
        routing = _turned(examples, estimates, price, unit)
        accuracy, tokens = routing.accuracy(examples).mean(), routing.tokens(examples).mean()
        points.append(DialPoint(price=price, accuracy=float(accuracy), tokens=float(tokens)))
    ends = Ends(
        (float(draws.accuracy[0, 0]), float(draws.tokens[0, 0])),
        (float(draws.accuracy[0, -1]), float(draws.tokens[0, -1])),
    )
    metrics = curve_metrics(
        np.array([each.accuracy for each in points]), np.array([each.tokens for each in points]), ends
    )
    curves = all(estimate.kind == "curves" for estimate, _ in estimates)
    gains = tuple(_utility(own, estimates, mu, unit) for mu in UTILITY_PRICES) if curves else ()
    return Dialled(points=tuple(points), metrics=metrics, utilities=gains)


def static_metrics(own: Bench) -> CurveMetrics:
    """The same metrics of the static λ without any estimator: what a router's must be compared with."""
    draws = own.draws
    ends = Ends(
        (float(draws.accuracy[0, 0]), float(draws.tokens[0, 0])),
        (float(draws.accuracy[0, -1]), float(draws.tokens[0, -1])),
    )
    return curve_metrics(draws.accuracy[0], draws.tokens[0], ends)


def _turned(
    examples: Examples, estimates: Sequence[tuple[Estimate, Numbers]], price: float, unit: float
) -> Routing:
    each = [
        routed(priced(estimate, price * _spread(estimate), unit), len(examples.lambdas), spent)
        for estimate, spent in estimates
    ]
    return over_seeds(each)


def _spread(estimate: Estimate) -> float:
    """How far the values of a query are apart, on average: the unit of the dial."""
    return max(float(np.ptp(estimate.value, axis=1).mean()), 1e-12)


def _utility(
    own: Bench, estimates: Sequence[tuple[Estimate, Numbers]], mu: float, unit: float
) -> UtilityGain:
    examples, draws = own.examples, own.draws
    each = [routed(priced(estimate, mu, unit), len(examples.lambdas), spent) for estimate, spent in estimates]
    routing = over_seeds(each)
    own_utility = draws.mean(routing.accuracy(examples) - mu * routing.tokens(examples) / unit)
    static = (draws.weights @ utilities(examples, mu)).max(axis=1)
    return UtilityGain(mu=mu, utility=float(own_utility[0]), over_static=draws.figure(own_utility - static))
