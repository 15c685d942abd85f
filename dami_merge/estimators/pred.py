"""The estimator `pred`: the best λ of a query as one number (DAMI-Pred), snapped to the grid.

Pointwise regression on λ* with a sigmoid head is the paper's. λ* is the best measured λ, accuracy first,
tokens second; it is chosen on each half of the samples and averaged (ours), since one noisy argmax has a
large error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.estimate import Estimate, scores_of
from dami_merge.estimators.examples import Numbers
from dami_merge.estimators.fitted import Inputs, Scalar
from dami_merge.estimators.heads import Heads, restore_heads, sigmoid
from dami_merge.estimators.reduction import Reduction, restore_reduction


@dataclass(frozen=True, slots=True, eq=False)
class Pred:
    """A fitted `pred`.

    Attributes:
        lambdas: λ, ascending.
        reduction: Features to components.
        point: Logit of the wanted λ, one output.
        cost: Mean tokens of each λ, shape [Λ].
        options: Options of the fit.
    """

    kind = "pred"

    lambdas: tuple[Fraction, ...]
    reduction: Reduction
    point: Heads
    cost: Numbers
    options: Mapping[str, Scalar]

    def estimate(self, inputs: Inputs) -> Estimate:
        """Score every λ by how near it is to the wanted one."""
        parts = self.reduction.parts(inputs.vectors)
        scores = around(sigmoid(self.point.outputs(parts)), self.lambdas)
        return scores_of(self.lambdas, scores, self.cost, self.reduction.novel(inputs.vectors, parts))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_pred` reads."""
        return {"cost": self.cost} | self.reduction.arrays() | self.point.arrays("point")

    def settings(self) -> dict[str, Scalar]:
        """Options of the fit."""
        return dict(self.options)


def restore_pred(
    arrays: Mapping[str, NDArray[np.generic]], lambdas: tuple[Fraction, ...], settings: Mapping[str, Scalar]
) -> Pred:
    """A fitted `pred` from an artefact.

    Raises:
        KeyError: An array is missing.
    """
    return Pred(
        lambdas=lambdas,
        reduction=restore_reduction(arrays),
        point=restore_heads(arrays, "point"),
        cost=arrays["cost"].astype(np.float64),
        options=dict(settings),
    )


def around(points: Numbers, lambdas: tuple[Fraction, ...]) -> Numbers:
    """Scores with one peak at a wanted λ: minus the squared distance to it.

    Args:
        points: Wanted λ in [0, 1], shape [..., 1].
        lambdas: λ of the grid.

    Returns:
        Shape [..., Λ].
    """
    path = np.array([float(lam) for lam in lambdas])
    scores: Numbers = -((path - points) ** 2)
    return scores
