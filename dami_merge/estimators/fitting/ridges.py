"""The strength of a ridge by cross-validation. Knows nothing of what is fitted."""

from collections.abc import Callable

import numpy as np

from dami_merge.estimators.examples import Numbers, Places, folds

RIDGES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Strengths to choose from."""

_FOLDS = 4

Miss = Callable[[float, Places, Places, Numbers], float]
"""From a strength, the places to fit on, those left out, and weights of 1 for the former, shape [1, N], to
the loss on those left out."""


def best_ridge(queries: int, seed: int, miss: Miss) -> float:
    """The strength with the lowest loss on queries that were left out; the stronger of equal ones.

    Args:
        queries: Number of queries; with too few to leave any out, the strongest ridge is taken.
        seed: Seed of the folds.
        miss: Fits to some queries and says how far it is off for the others.
    """
    if queries < 2 * _FOLDS:
        return max(RIDGES)
    parts = list(folds(queries, _FOLDS, seed))
    losses = {
        ridge: sum(miss(ridge, kept, out, np.ones((1, len(kept)))) for kept, out in parts) for ridge in RIDGES
    }
    return min(RIDGES, key=lambda ridge: (losses[ridge], -ridge))
