"""Predictions for measured queries by fits that have not seen them."""

from collections.abc import Callable

import numpy as np

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples, folds
from dami_merge.estimators.fitted import FittedEstimator, Inputs

Fitting = Callable[[Examples, Inputs, int], FittedEstimator]
"""From measured queries, their features and a seed to a fitted estimator."""


def out_of_fold(
    fit: Fitting,
    examples: Examples,
    inputs: Inputs,
    *,
    parts: int,
    seed: int,
    on_part: Callable[[int, int], None] = lambda _, __: None,
) -> Estimate:
    """Fit to all parts but one, predict that one, and put the predictions together.

    Args:
        fit: Fits the estimator.
        examples: N measured queries.
        inputs: Their features.
        parts: Number of parts, from 2 to N.
        seed: Seed of the split and of the fits.
        on_part: Called after each part with the number done and the number of all.
    """
    found: list[Estimate] = []
    order = []
    for number, (kept, out) in enumerate(folds(len(examples), parts, seed), 1):
        fitted = fit(examples.part(kept), inputs.part(kept), seed)
        found.append(fitted.estimate(inputs.part(out)))
        order.append(out)
        on_part(number, parts)
    back = np.argsort(np.concatenate(order))
    return Estimate(
        lambdas=examples.lambdas,
        kind=found[0].kind,
        value=np.concatenate([each.value for each in found])[back],
        cost=np.concatenate([each.cost for each in found])[back],
        draws=np.concatenate([each.draws for each in found], axis=1)[:, back],
        novel=np.concatenate([each.novel for each in found])[back],
    )
