"""The estimator `curve`: the probability of a correct answer and the tokens at every λ, from one query.

Success is binomial with a level of its own at each λ and a linear part that is shrunk towards what all λ
share; tokens are log-linear, with Duan's smearing factor (J. Am. Stat. Assoc. 78, 1983) for the mean.
Nothing assumes that either rises with λ. Every sample counts, and ties are used. Source: ours; predicting
success and cost curves is CARROT's (arXiv 2502.03261) and R2-Router's (arXiv 2602.02823) idea.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.estimate import Estimate, curves_of
from dami_merge.estimators.examples import Numbers
from dami_merge.estimators.fitted import Inputs, Scalar
from dami_merge.estimators.heads import Heads, restore_heads, sigmoid
from dami_merge.estimators.reduction import Reduction, restore_reduction


@dataclass(frozen=True, slots=True, eq=False)
class FittedCurve:
    """A fitted `curve`.

    Attributes:
        lambdas: λ, ascending.
        reduction: Features to components.
        success: Logits of success, O = Λ outputs.
        length: Logarithms of tokens, one fit, Λ outputs.
        smearing: Factor from the exponential of `length` to mean tokens, shape [Λ].
        bounds: Fewest and most tokens that are predicted at each λ, shape [2, Λ].
        options: Options of the fit.
    """

    kind = "curve"

    lambdas: tuple[Fraction, ...]
    reduction: Reduction
    success: Heads
    length: Heads
    smearing: Numbers
    bounds: Numbers
    options: Mapping[str, Scalar]

    def estimate(self, inputs: Inputs) -> Estimate:
        """Predict success and tokens."""
        parts = self.reduction.parts(inputs.vectors)
        success = sigmoid(self.success.outputs(parts))
        cost = np.exp(np.clip(self.length.outputs(parts)[0], -30, 30)) * self.smearing
        return curves_of(
            self.lambdas, success, np.clip(cost, *self.bounds), self.reduction.novel(inputs.vectors, parts)
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_curve` reads."""
        own = {"smearing": self.smearing.astype(np.float32), "bounds": self.bounds.astype(np.float32)}
        return own | self.reduction.arrays() | self.success.arrays("success") | self.length.arrays("length")

    def settings(self) -> dict[str, Scalar]:
        """Options of the fit."""
        return dict(self.options)


def restore_curve(
    arrays: Mapping[str, NDArray[np.generic]], lambdas: tuple[Fraction, ...], settings: Mapping[str, Scalar]
) -> FittedCurve:
    """A curve from an artefact.

    Raises:
        KeyError: An array is missing.
    """
    return FittedCurve(
        lambdas=lambdas,
        reduction=restore_reduction(arrays),
        success=restore_heads(arrays, "success"),
        length=restore_heads(arrays, "length"),
        smearing=arrays["smearing"].astype(np.float64),
        bounds=arrays["bounds"].astype(np.float64),
        options=dict(settings),
    )
