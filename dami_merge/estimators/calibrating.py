"""Calibrate `conf`: from quantiles of unlabelled queries, or so that measured queries are routed best.

Both are reconstructed; the paper says only that a sigmoid is calibrated. Needs numpy only.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Annotated, Literal

import msgspec
import numpy as np

from dami_merge.errors import InputRefused, Problem
from dami_merge.estimators.conf import Conf, parts_of_conf, sigmoid_points
from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.fitted import Inputs, Scalar
from dami_merge.estimators.resampling import query_weights

RATIOS = (0.0, 0.25, -0.25, 0.5, -0.5, 1.0, -1.0, 2.0, 4.0)
"""w2 / w1 that labelled queries choose from; below 0, discrepancy argues for a smaller λ."""

_SLOPES = np.geomspace(0.7, 40.0, 9)
"""k, in units of the spread of w1 · HA + w2 · CD; the gentler of equally good ones is kept."""

_BIASES = np.linspace(0.01, 0.99, 17)
_END_ODDS = float(np.log(9.0))
"""Log-odds of λ = 0.9."""


class ConfOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of `conf`.

    Attributes:
        labelled: Calibrate on the measured answers; else only on quantiles of the signals, without a label.
        source: Confidence from the `probability` of the answer's tokens, or from their `entropy`.
        discrepancy: CD is `absolute`, |C_T - C_I|, or `positive`, max(0, C_T - C_I).
        terms: Use `both` HA and CD, or one of them alone, for ablations.
        cost_weight: Accuracy that the tokens of the most expensive λ are worth, for the labelled calibration.
        low: Share of the unlabelled queries that get λ below 0.1.
        high: Share that gets λ below 0.9.
        instruct_tokens: Guess of Instruct's mean tokens, used without labels; the cost is linear in λ.
        thinking_tokens: Guess of Thinking's.
        draws: Resamples for standard errors; none without labels.
    """

    labelled: bool = True
    source: Literal["probability", "entropy"] = "probability"
    discrepancy: Literal["absolute", "positive"] = "absolute"
    terms: Literal["both", "ambiguity", "discrepancy"] = "both"
    cost_weight: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    low: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    high: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    instruct_tokens: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    thinking_tokens: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    draws: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 16


def fit_conf(examples: Examples, inputs: Inputs, options: ConfOptions, seed: int) -> Conf:
    """Calibrate on measured queries: k, w1, w2 and b under which their routed utility is highest.

    The utility of a query is accuracy - `cost_weight` · tokens / mean tokens of the most expensive λ, linear
    between neighbouring λ. A search over a grid of a thousand candidates finds the best one, for all
    queries and for each resample. If `labelled` is False, only λ are taken from the examples.

    Args:
        examples: N measured queries.
        inputs: Their confidence signals.
        options: Options.
        seed: Seed of the resamples.

    Raises:
        InputRefused: The features are not the confidence signals, or there is no query.
    """
    if not options.labelled:
        return conf_without_labels(inputs, examples.lambdas, options)
    parts = _parts(inputs, options)
    cost = examples.tokens.mean(axis=0)
    utility = examples.accuracy - options.cost_weight * examples.tokens / max(cost.max(), 1e-9)
    path = np.array([float(lam) for lam in examples.lambdas])
    weights = query_weights(len(examples), options.draws, seed)
    best = np.full(len(weights), -np.inf)
    found = np.zeros((len(weights), 4))
    for some in _candidates(parts, options):
        reached = _between(utility, path, sigmoid_points(some, parts)) @ weights.T
        places = reached.argmax(axis=0)
        top = reached[places, np.arange(len(weights))]
        better = top > best + 1e-9
        best[better], found[better] = top[better], some[places[better]]
    return _conf(examples.lambdas, found, parts, cost, _named(options, cost="measured", seed=seed))


def conf_without_labels(inputs: Inputs, lambdas: Sequence[Fraction], options: ConfOptions) -> Conf:
    """Calibrate on unlabelled queries: their quantiles `low` and `high` get λ = 0.1 and 0.9.

    w1 and w2 are 1, or 0 for a term that is left out. If all queries have the same signals, λ is 0.5. The
    cost is a guess: linear in λ, from `instruct_tokens` to `thinking_tokens`.

    Args:
        inputs: The confidence signals of some typical queries; 50 are enough for stable quantiles.
        lambdas: λ of the grid, ascending.
        options: Options.

    Raises:
        InputRefused: The features are not the confidence signals, there is no query, or `low` is not below
            `high`.
    """
    parts = _parts(inputs, options)
    if not options.low < options.high:
        fact = f"the quantiles low {options.low:g} and high {options.high:g} leave nothing between them"
        raise InputRefused([Problem("quantiles", fact, "let low be below high")])
    first, second = float(options.terms != "discrepancy"), float(options.terms != "ambiguity")
    low, high = np.quantile(parts @ np.array([first, second]), [options.low, options.high])
    slope = 2 * _END_ODDS / (high - low) if high - low > 1e-9 else 0.0
    path = np.array([float(lam) for lam in lambdas])
    cost = options.instruct_tokens + (options.thinking_tokens - options.instruct_tokens) * path
    found = np.array([[slope, first, second, (low + high) / 2]])
    return _conf(tuple(lambdas), found, parts, cost, _named(options, cost="guessed"))


def _parts(inputs: Inputs, options: ConfOptions) -> Numbers:
    parts = parts_of_conf(inputs, msgspec.structs.asdict(options))
    if not len(parts):
        raise InputRefused([Problem("no-queries", "there is no query to calibrate `conf` on")])
    return parts


def _candidates(parts: Numbers, options: ConfOptions) -> Iterator[Numbers]:
    """Rows of k, w1, w2, b: a block for each pair of weights, the gentle slopes first."""
    pairs = {
        "both": [(1.0, ratio) for ratio in RATIOS],
        "ambiguity": [(1.0, 0.0)],
        "discrepancy": [(0.0, 1.0), (0.0, -1.0)],
    }
    for first, second in pairs[options.terms]:
        score = parts @ np.array([first, second])
        spread = max(float(score.std()), 1e-6)
        biases = np.quantile(score, _BIASES)
        yield np.array([[slope / spread, first, second, bias] for slope in _SLOPES for bias in biases])


def _between(utility: Numbers, path: Numbers, points: Numbers) -> Numbers:
    """Utility of each query at each candidate's λ, linear between the λ of the grid, shape [C, N]."""
    if len(path) == 1:
        return np.broadcast_to(utility[:, 0], points.shape)
    left = np.clip(np.searchsorted(path, points, side="right") - 1, 0, len(path) - 2)
    share = np.clip((points - path[left]) / (path[left + 1] - path[left]), 0.0, 1.0)
    rows = np.arange(len(utility))
    mixed: Numbers = utility[rows, left] * (1 - share) + utility[rows, left + 1] * share
    return mixed


def _named(options: ConfOptions, *, cost: str, seed: int = 0) -> dict[str, Scalar]:
    named: dict[str, Scalar] = msgspec.structs.asdict(options)
    return named | {"cost": cost, "seed": seed}


def _conf(
    lambdas: tuple[Fraction, ...],
    found: Numbers,
    parts: Numbers,
    cost: Numbers,
    named: dict[str, Scalar],
) -> Conf:
    limits = np.stack([parts.min(axis=0), parts.max(axis=0)])
    return Conf(lambdas, found, limits, cost, named)
