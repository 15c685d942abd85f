"""What an estimator says about some queries: a value and a cost for every λ, and how sure it is."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from dami_merge.estimators.examples import Flags, Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Predictions for n queries at Λ values of λ.

    Attributes:
        lambdas: λ, ascending.
        kind: What `value` is: `curves` for the probability of a correct answer, `scores` for a utility that
            has no scale of its own: only the order over λ and, with a dial, the distances count.
        value: Success probability or utility, higher is better, shape [n, Λ].
        cost: Expected tokens, shape [n, Λ]. Scores take the mean of all queries at each λ.
        draws: `value` of S fits to resampled queries, shape [S, n, Λ], from which paired standard errors
            follow; S is 0 for an estimator that knows no uncertainty.
        novel: Whether a query is unlike all that the estimator was fitted on, shape [n].
    """

    lambdas: tuple[Fraction, ...]
    kind: Literal["curves", "scores"]
    value: Numbers
    cost: Numbers
    draws: Numbers
    novel: Flags

    def __len__(self) -> int:
        return len(self.value)

    def gap_error(self, reference: int) -> Numbers:
        """Standard error of `value` minus that of one λ of the same query, shape [n, Λ]; 0 without draws.

        Args:
            reference: Place of that λ.
        """
        if not len(self.draws):
            return self.value * 0.0
        gaps = self.draws - self.draws[:, :, reference : reference + 1]
        spread: Numbers = gaps.std(axis=0)
        return spread


def curves_of(lambdas: tuple[Fraction, ...], success: Numbers, cost: Numbers, novel: Flags) -> Estimate:
    """An estimate of success.

    Args:
        lambdas: λ, ascending.
        success: Probabilities by the fit, then by its S resamples, shape [1+S, n, Λ].
        cost: Expected tokens, shape [n, Λ].
        novel: Whether each query is unlike those of the fit, shape [n].
    """
    return Estimate(lambdas, "curves", success[0], cost, success[1:], novel)


def scores_of(lambdas: tuple[Fraction, ...], scores: Numbers, cost: Numbers, novel: Flags) -> Estimate:
    """An estimate of utilities.

    Args:
        lambdas: λ, ascending.
        scores: Utilities by the fit, then by its S resamples, shape [1+S, n, Λ].
        cost: Mean tokens of each λ, the same for every query, shape [Λ].
        novel: Whether each query is unlike those of the fit, shape [n].
    """
    return Estimate(lambdas, "scores", scores[0], np.broadcast_to(cost, scores[0].shape), scores[1:], novel)
