"""Fit `curve`: a binomial likelihood for success, a ridge on log tokens, its strength by cross-validation."""

from typing import Annotated

import msgspec
import numpy as np
import torch

from dami_merge.estimators.curve import FittedCurve
from dami_merge.estimators.examples import Examples, Numbers, Places
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.fitting.linear import minimise
from dami_merge.estimators.fitting.ridges import best_ridge
from dami_merge.estimators.heads import Heads
from dami_merge.estimators.reduction import MOST_COMPONENTS, fit_reduction
from dami_merge.estimators.resampling import query_weights

_NEVER = 1e-4


class CurveOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of `curve`.

    Attributes:
        ridge: Strength of the ridge of the success curve; 0 means by cross-validation.
        smooth: How much more strongly differences between neighbouring λ are shrunk than what they share.
        draws: Resamples for standard errors.
        parts: Most principal components of the features.
    """

    ridge: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    smooth: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    draws: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 16
    parts: Annotated[int, msgspec.Meta(ge=1, le=4096)] = MOST_COMPONENTS


def fit_curve(examples: Examples, inputs: Inputs, options: CurveOptions, seed: int) -> FittedCurve:
    """Fit success and tokens of every λ.

    Args:
        examples: N measured queries.
        inputs: Their features.
        options: Options.
        seed: Seed of folds and resamples.
    """
    reduction = fit_reduction(inputs, most=options.parts, seed=seed)
    parts = reduction.parts(inputs.vectors)
    right, count = examples.correct.astype(np.float64), examples.samples.astype(np.float64)
    ridge = options.ridge or _chosen_ridge(parts, right, count, options.smooth, seed)
    weights = query_weights(len(examples), options.draws, seed)
    success = _fit_success(parts, right, count, weights, ridge, options.smooth)
    length, smearing = _fit_length(parts, examples, ridge, options.smooth)
    found = examples.lengths.astype(np.float64)
    found = np.where(found < 0, np.nan, found)
    bounds = np.stack([np.nanmin(found, axis=(0, 2)), np.nanmax(found, axis=(0, 2))])
    named = msgspec.structs.asdict(options) | {"ridge": ridge, "seed": seed}
    return FittedCurve(examples.lambdas, reduction, success, length, smearing, bounds, named)


def _fit_success(
    parts: Numbers, right: Numbers, count: Numbers, weights: Numbers, ridge: float, smooth: float
) -> Heads:
    hits = torch.from_numpy(np.ascontiguousarray(right / count))

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(logits) - hits * logits

    return minimise(loss, parts, weights, right.shape[1], ridge=ridge, smooth=smooth)


def _chosen_ridge(parts: Numbers, right: Numbers, count: Numbers, smooth: float, seed: int) -> float:
    """The ridge with the lowest log loss on queries that were left out."""

    def miss(ridge: float, kept: Places, out: Places, ones: Numbers) -> float:
        heads = _fit_success(parts[kept], right[kept], count[kept], ones, ridge, smooth)
        return log_loss(heads.outputs(parts[out])[0], right[out] / count[out])

    return best_ridge(len(parts), seed, miss)


def log_loss(logits: Numbers, hits: Numbers) -> float:
    """Sum of the binomial log losses of shares of correct answers, in nats."""
    return float((np.logaddexp(0.0, logits) - hits * logits).sum())


def _fit_length(parts: Numbers, examples: Examples, ridge: float, smooth: float) -> tuple[Heads, Numbers]:
    """Logarithms of tokens by least squares, and the smearing factor of each λ."""
    answered = examples.right >= 0
    logs = np.where(answered, np.log(np.maximum(examples.lengths, _NEVER)), 0.0)
    means = logs.sum(axis=2) / answered.sum(axis=2)
    aims = torch.from_numpy(np.ascontiguousarray(means))

    def loss(outputs: torch.Tensor) -> torch.Tensor:
        return 0.5 * (outputs - aims).square()

    heads = minimise(loss, parts, np.ones((1, len(parts))), means.shape[1], ridge=ridge, smooth=smooth)
    fitted = heads.outputs(parts)[0]
    misses = np.where(answered, np.exp(logs - fitted[:, :, None]), 0.0)
    smearing: Numbers = misses.sum(axis=(0, 2)) / answered.sum(axis=(0, 2))
    return heads, smearing
