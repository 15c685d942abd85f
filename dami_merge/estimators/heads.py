"""Linear heads on reduced features: one number for every λ, for the fit itself and for its resamples.

Knows nothing of what the numbers mean; `curve`, `pref` and `pred` do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.examples import Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Weights of 1 + S fits: of all queries first, then of S resamples of them.

    Attributes:
        weights: Shape [1+S, R, O] for R components and O outputs.
        bias: Shape [1+S, O].
    """

    weights: Numbers
    bias: Numbers

    def outputs(self, parts: Numbers) -> Numbers:
        """Outputs for some queries, shape [1+S, n, O].

        Args:
            parts: Components, shape [n, R].
        """
        fits, width, count = self.weights.shape
        flat = self.weights.transpose(1, 0, 2).reshape(width, fits * count)
        wide = (parts @ flat).reshape(len(parts), fits, count)
        result: Numbers = wide.transpose(1, 0, 2) + self.bias[:, None, :]
        return result

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Arrays to store, under a name of the caller's."""
        return {
            f"{name}.weights": self.weights.astype(np.float32),
            f"{name}.bias": self.bias.astype(np.float32),
        }


def restore_heads(arrays: Mapping[str, NDArray[np.generic]], name: str) -> Heads:
    """Heads from their arrays.

    Raises:
        KeyError: An array is missing.
    """
    return Heads(arrays[f"{name}.weights"].astype(np.float64), arrays[f"{name}.bias"].astype(np.float64))


def sigmoid(values: Numbers) -> Numbers:
    """The logistic function, without overflow."""
    result: Numbers = 0.5 * (1 + np.tanh(0.5 * values))
    return result
