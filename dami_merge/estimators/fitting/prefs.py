"""Fit `pref`: the Bradley-Terry loss on weighted pairs of λ."""

from typing import Annotated

import msgspec
import numpy as np
import torch

from dami_merge.estimators.examples import Examples, Numbers, Places
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.fitting.linear import minimise
from dami_merge.estimators.fitting.ridges import best_ridge
from dami_merge.estimators.heads import Heads
from dami_merge.estimators.pairs import PairOptions, preferences
from dami_merge.estimators.pref import Pref
from dami_merge.estimators.reduction import MOST_COMPONENTS, fit_reduction
from dami_merge.estimators.resampling import query_weights


class PrefOptions(PairOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of `pref`, beside those of its pairs.

    Attributes:
        ridge: Strength of the ridge; 0 means by cross-validation.
        smooth: How much more strongly differences between neighbouring λ are shrunk than what they share.
        draws: Resamples for standard errors.
        parts: Most principal components of the features.
        expected: Prefer the λ nearest to the expected one under the softmax of the utilities, instead of the
            λ with the highest.
    """

    ridge: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    smooth: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    draws: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 16
    parts: Annotated[int, msgspec.Meta(ge=1, le=4096)] = MOST_COMPONENTS
    expected: bool = False


def fit_pref(examples: Examples, inputs: Inputs, options: PrefOptions, seed: int) -> Pref:
    """Fit a utility of every λ.

    Args:
        examples: N measured queries.
        inputs: Their features.
        options: Options.
        seed: Seed of folds and resamples.

    Raises:
        InputRefused: The rule leaves no pair.
    """
    named = {name: getattr(options, name) for name in PairOptions.__struct_fields__}
    pairs, _ = preferences(examples, PairOptions(**named))
    reduction = fit_reduction(inputs, most=options.parts, seed=seed)
    parts = reduction.parts(inputs.vectors)
    ridge = options.ridge or _chosen_ridge(parts, pairs, options.smooth, seed)
    weights = query_weights(len(examples), options.draws, seed)
    utility = _fit_pairs(parts, pairs, weights, ridge, options.smooth)
    settings = msgspec.structs.asdict(options) | {"ridge": ridge, "seed": seed}
    return Pref(examples.lambdas, reduction, utility, examples.tokens.mean(axis=0), settings)


def _fit_pairs(parts: Numbers, pairs: Numbers, weights: Numbers, ridge: float, smooth: float) -> Heads:
    """Minimise the mean loss of a pair; both directions of a pair are one term."""
    count = pairs.shape[1]
    low, high = np.triu_indices(count, 1)
    scale = pairs.sum() / len(parts)
    first, second = (torch.from_numpy(pairs[:, one, two] / scale) for one, two in ((low, high), (high, low)))
    one, two = torch.from_numpy(low), torch.from_numpy(high)

    def loss(utility: torch.Tensor) -> torch.Tensor:
        gap = utility[..., one] - utility[..., two]
        return (first + second) * torch.nn.functional.softplus(gap) - first * gap

    return minimise(loss, parts, weights, count, ridge=ridge, smooth=smooth)


def _chosen_ridge(parts: Numbers, pairs: Numbers, smooth: float, seed: int) -> float:
    """The ridge with the lowest loss on pairs of queries that were left out."""

    def miss(ridge: float, kept: Places, out: Places, ones: Numbers) -> float:
        heads = _fit_pairs(parts[kept], pairs[kept], ones, ridge, smooth)
        return pair_loss(heads.outputs(parts[out])[0], pairs[out])

    return best_ridge(len(parts), seed, miss)


def pair_loss(utility: Numbers, pairs: Numbers) -> float:
    """Sum of the Bradley-Terry losses, -log σ of the gap, weighted by `pairs`, in nats."""
    gaps = utility[:, :, None] - utility[:, None, :]
    return float((pairs * np.logaddexp(0.0, -gaps)).sum())
