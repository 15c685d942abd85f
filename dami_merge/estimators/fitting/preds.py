"""Fit `pred`: a regression on the best measured λ of every query."""

from typing import Annotated, Literal

import msgspec
import numpy as np
import torch

from dami_merge.estimators.examples import Examples, Numbers, Places
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.fitting.linear import minimise
from dami_merge.estimators.fitting.ridges import best_ridge
from dami_merge.estimators.heads import Heads, sigmoid
from dami_merge.estimators.pred import Pred
from dami_merge.estimators.reduction import MOST_COMPONENTS, fit_reduction
from dami_merge.estimators.resampling import query_weights

_HUBER = 0.2


class PredOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of `pred`.

    Attributes:
        loss: `mse`, or `huber`, which is linear beyond an error of 0.2.
        halves: Average the λ* of both halves of the samples, instead of choosing it on all of them.
        ridge: Strength of the ridge; 0 means by cross-validation.
        draws: Resamples for standard errors.
        parts: Most principal components of the features.
    """

    loss: Literal["mse", "huber"] = "huber"
    halves: bool = True
    ridge: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    draws: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 16
    parts: Annotated[int, msgspec.Meta(ge=1, le=4096)] = MOST_COMPONENTS


def fit_pred(examples: Examples, inputs: Inputs, options: PredOptions, seed: int) -> Pred:
    """Fit the wanted λ. Queries that no λ answers are left out.

    Args:
        examples: N measured queries.
        inputs: Their features.
        options: Options.
        seed: Seed of folds and resamples.
    """
    reduction = fit_reduction(inputs, most=options.parts, seed=seed)
    points, used = _targets(examples, halves=options.halves)
    parts = reduction.parts(inputs.vectors[used])
    ridge = options.ridge or _chosen_ridge(parts, points, options, seed)
    heads = _fit_points(parts, points, query_weights(len(parts), options.draws, seed), ridge, options)
    settings = msgspec.structs.asdict(options) | {"ridge": ridge, "seed": seed}
    return Pred(examples.lambdas, reduction, heads, examples.tokens.mean(axis=0), settings)


def best_lambdas(examples: Examples) -> Numbers:
    """λ* of every query, shape [N]: the most accurate, of equally accurate λ that with the fewest tokens."""
    path = np.array([float(lam) for lam in examples.lambdas])
    order = np.lexsort(
        (np.nan_to_num(examples.tokens, nan=np.inf), -np.nan_to_num(examples.accuracy)), axis=1
    )
    best: Numbers = path[order[:, 0]]
    return best


def _targets(
    examples: Examples, *, halves: bool
) -> tuple[Numbers, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    used = np.flatnonzero(examples.correct.sum(axis=1) > 0)
    if not len(used):
        used = np.arange(len(examples))
    own = examples.part(used)
    both = own.halves() if halves and examples.right.shape[2] > 1 else (own,)
    return np.mean([best_lambdas(each) for each in both], axis=0), used


def _fit_points(
    parts: Numbers, points: Numbers, weights: Numbers, ridge: float, options: PredOptions
) -> Heads:
    aims = torch.from_numpy(np.ascontiguousarray(points[:, None]))

    def loss(logits: torch.Tensor) -> torch.Tensor:
        error = torch.sigmoid(logits) - aims
        if options.loss == "mse":
            return error.square()
        zero = torch.zeros_like(error)
        return torch.nn.functional.huber_loss(error, zero, reduction="none", delta=_HUBER)

    return minimise(loss, parts, weights, 1, ridge=ridge, smooth=0.0)


def _chosen_ridge(parts: Numbers, points: Numbers, options: PredOptions, seed: int) -> float:
    """The ridge with the lowest squared error on queries that were left out."""

    def miss(ridge: float, kept: Places, out: Places, ones: Numbers) -> float:
        heads = _fit_points(parts[kept], points[kept], ones, ridge, options)
        return float(((sigmoid(heads.outputs(parts[out])[0, :, 0]) - points[out]) ** 2).sum())

    return best_ridge(len(parts), seed, miss)
