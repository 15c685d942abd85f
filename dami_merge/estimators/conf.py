"""The estimator `conf`: λ from how sure both endpoints are of a short answer (DAMI-Conf).

λ = σ(k · (w1 · HA + w2 · CD - b)). Holistic Ambiguity HA, Cognitive Discrepancy CD and a sigmoid calibration
are from the paper; the formulas, both ways to calibrate, and the scores around λ are reconstructed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.estimate import Estimate, scores_of
from dami_merge.estimators.examples import Flags, Numbers
from dami_merge.estimators.fitted import Inputs, Scalar
from dami_merge.estimators.heads import sigmoid
from dami_merge.estimators.pred import around
from dami_merge.estimators.signals import ambiguity, signal


@dataclass(frozen=True, slots=True, eq=False)
class Conf:
    """A calibrated `conf`.

    Attributes:
        lambdas: λ, ascending.
        sigmoid: k, w1, w2, b of the calibration and of S resamples of it, shape [1+S, 4].
        limits: Lowest and highest HA and CD of the queries of the calibration, shape [2, 2].
        cost: Mean tokens of each λ, or a guess, shape [Λ]; the setting `cost` says which.
        options: Options of the calibration; `source` and `discrepancy` say what HA and CD are.
    """

    kind = "conf"

    lambdas: tuple[Fraction, ...]
    sigmoid: Numbers
    limits: Numbers
    cost: Numbers
    options: Mapping[str, Scalar]

    def points(self, inputs: Inputs) -> Numbers:
        """λ(q) before it is snapped to the grid, of the calibration and its resamples, shape [1+S, n]."""
        return sigmoid_points(self.sigmoid, parts_of_conf(inputs, self.options))

    def estimate(self, inputs: Inputs) -> Estimate:
        """Score every λ by how near it is to λ(q).

        Raises:
            InputRefused: The features are not the confidence signals.
        """
        parts = parts_of_conf(inputs, self.options)
        scores = around(sigmoid_points(self.sigmoid, parts)[..., None], self.lambdas)
        return scores_of(self.lambdas, scores, self.cost, self._novel(parts))

    def _novel(self, parts: Numbers) -> Flags:
        """Whether HA or CD lie outside of what the calibration saw, by more than a tenth of its range."""
        slack = 0.1 * (self.limits[1] - self.limits[0])
        beyond: Flags = (parts < self.limits[0] - slack) | (parts > self.limits[1] + slack)
        return beyond[:, 0] | beyond[:, 1]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_conf` reads."""
        return {"sigmoid": self.sigmoid, "limits": self.limits, "cost": self.cost}

    def settings(self) -> dict[str, Scalar]:
        """Options of the calibration."""
        return dict(self.options)


def restore_conf(
    arrays: Mapping[str, NDArray[np.generic]], lambdas: tuple[Fraction, ...], settings: Mapping[str, Scalar]
) -> Conf:
    """A calibrated `conf` from an artefact.

    Raises:
        KeyError: An array is missing.
    """
    return Conf(
        lambdas=lambdas,
        sigmoid=arrays["sigmoid"].astype(np.float64),
        limits=arrays["limits"].astype(np.float64),
        cost=arrays["cost"].astype(np.float64),
        options=dict(settings),
    )


def parts_of_conf(inputs: Inputs, options: Mapping[str, Scalar]) -> Numbers:
    """HA and CD of some queries, shape [n, 2].

    Args:
        inputs: The confidence signals.
        options: `source`: `probability`, or `entropy` for exp(-mean entropy) in its place; `discrepancy`:
            `absolute` for |C_T - C_I|, `positive` for max(0, C_T - C_I).

    Raises:
        InputRefused: The features are not the confidence signals.
        KeyError: An option is missing.
    """
    suffix = "_certainty" if options["source"] == "entropy" else ""
    instruct, thinking = (signal(inputs.vectors, side + suffix) for side in ("instruct", "thinking"))
    lead = thinking - instruct
    gap = np.abs(lead) if options["discrepancy"] == "absolute" else np.maximum(lead, 0.0)
    return np.stack([ambiguity(instruct, thinking), gap], axis=1)


def sigmoid_points(parameters: Numbers, parts: Numbers) -> Numbers:
    """σ(k · (w1 · HA + w2 · CD - b)), shape [1+S, n].

    Args:
        parameters: k, w1, w2, b, shape [1+S, 4].
        parts: HA and CD, shape [n, 2].
    """
    slope, bias = parameters[:, :1], parameters[:, 3:]
    return sigmoid(slope * (parameters[:, 1:3] @ parts.T - bias))
