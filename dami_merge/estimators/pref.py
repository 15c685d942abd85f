"""The estimator `pref`: a utility of every λ, learned from preferences between λ (DAMI-Pref).

One encoding of the query, one head with a utility per λ, and the Bradley-Terry loss: from the paper. The
ridge, soft weights and the expected λ are ours. Of the utilities only differences within one query mean
anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.estimate import Estimate, scores_of
from dami_merge.estimators.examples import Numbers
from dami_merge.estimators.fitted import Inputs, Scalar
from dami_merge.estimators.heads import Heads, restore_heads
from dami_merge.estimators.reduction import Reduction, restore_reduction


@dataclass(frozen=True, slots=True, eq=False)
class Pref:
    """A fitted `pref`.

    Attributes:
        lambdas: λ, ascending.
        reduction: Features to components.
        utility: One utility per λ.
        cost: Mean tokens of each λ, shape [Λ].
        options: Options of the fit; `expected` turns utilities into those of the expected λ.
    """

    kind = "pref"

    lambdas: tuple[Fraction, ...]
    reduction: Reduction
    utility: Heads
    cost: Numbers
    options: Mapping[str, Scalar]

    def estimate(self, inputs: Inputs) -> Estimate:
        """Score every λ; the cost is the mean of each λ over the queries of the fit."""
        parts = self.reduction.parts(inputs.vectors)
        scores = self.utility.outputs(parts)
        if self.options.get("expected"):
            scores = _around_expected(scores, np.array([float(lam) for lam in self.lambdas]))
        return scores_of(self.lambdas, scores, self.cost, self.reduction.novel(inputs.vectors, parts))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_pref` reads."""
        return {"cost": self.cost} | self.reduction.arrays() | self.utility.arrays("utility")

    def settings(self) -> dict[str, Scalar]:
        """Options of the fit."""
        return dict(self.options)


def restore_pref(
    arrays: Mapping[str, NDArray[np.generic]], lambdas: tuple[Fraction, ...], settings: Mapping[str, Scalar]
) -> Pref:
    """A fitted `pref` from an artefact.

    Raises:
        KeyError: An array is missing.
    """
    return Pref(
        lambdas=lambdas,
        reduction=restore_reduction(arrays),
        utility=restore_heads(arrays, "utility"),
        cost=arrays["cost"].astype(np.float64),
        options=dict(settings),
    )


def _around_expected(scores: Numbers, path: Numbers) -> Numbers:
    """Scores that are highest at the expected λ under the softmax of the utilities, shape as given."""
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    expected = (shares * path).sum(axis=-1, keepdims=True) / shares.sum(axis=-1, keepdims=True)
    result: Numbers = -((path - expected) ** 2)
    return result
