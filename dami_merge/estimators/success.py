"""What measured answers say of the success of every query at every λ, without looking at the query.

A logistic-normal model (ours): the logits of a query at its Λ values of λ are a level that all queries share
plus a normal deviation, whose covariance between λ is learned from all queries. So an answer at one λ says
something about the others, and a query without answers is as uncertain as queries differ. The posterior is
Laplace's approximation; level and covariance are fitted by EM.
"""

from dataclasses import dataclass

import numpy as np

from dami_merge.estimators.examples import Numbers, Places
from dami_merge.estimators.heads import sigmoid

_ROUNDS = 20
_STEPS = 4
_LONGEST_STEP = 3.0
_PRIOR_QUERIES = 5.0
"""How many queries the covariance to start from counts as."""

_EXTREME = 6.0
"""Largest level in logits: a success of 99.75%."""


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """The success of N queries at Λ values of λ, as far as it is known.

    Attributes:
        success: Posterior mean of the probability of a correct answer, shape [N, Λ].
        covariance: Posterior covariance of the logits of each query, shape [N, Λ, Λ].
    """

    success: Numbers
    covariance: Numbers

    @property
    def information(self) -> Numbers:
        """Fisher information of one answer on its logit, p(1 - p), shape [N, Λ]; also dp/dlogit."""
        information: Numbers = self.success * (1 - self.success)
        return information

    @property
    def variance(self) -> Numbers:
        """Variance of the probability of each cell, by the delta method, shape [N, Λ]."""
        spread: Numbers = np.diagonal(self.covariance, axis1=1, axis2=2) * self.information**2
        return spread


def believe(correct: Places, samples: Places) -> Belief:
    """Fit the model to counts of answers.

    Args:
        correct: Correct answers, shape [N, Λ].
        samples: All answers, shape [N, Λ]; 0 where there is none.
    """
    shares = (correct.sum(axis=0) + 0.5) / (samples.sum(axis=0) + 1)
    level = np.log(shares / (1 - shares))
    width = correct.shape[1]
    start = 0.5 * np.eye(width) + 1.5 * np.ones((width, width))
    covariance, deviation = start, np.zeros(correct.shape)
    for _ in range(_ROUNDS):
        deviation, posterior = _posterior(correct, samples, level, covariance, deviation)
        level = np.clip(level + deviation.mean(axis=0), -_EXTREME, _EXTREME)
        spread = (posterior + deviation[:, :, None] * deviation[:, None, :]).sum(axis=0)
        covariance = (spread + _PRIOR_QUERIES * start) / (len(correct) + _PRIOR_QUERIES)
    deviation, posterior = _posterior(correct, samples, level, covariance, deviation)
    spread = np.diagonal(posterior, axis1=1, axis2=2)
    # MacKay, Neural Computation 4, 1992: the mean of a logistic function of a normal variable
    return Belief(sigmoid((level + deviation) / np.sqrt(1 + np.pi * spread / 8)), posterior)


def _posterior(
    correct: Places, samples: Places, level: Numbers, covariance: Numbers, deviation: Numbers
) -> tuple[Numbers, Numbers]:
    """Mode and covariance of every query's deviation, by Newton's method from a first guess."""
    precision = np.linalg.inv(covariance)
    posterior = np.empty((*deviation.shape, deviation.shape[1]))
    for _ in range(_STEPS):
        success = sigmoid(level + deviation)
        slope = correct - samples * success - deviation @ precision
        curved = precision + (samples * success * (1 - success))[:, :, None] * np.eye(len(level))
        posterior = np.linalg.inv(curved)
        step = np.einsum("nij,nj->ni", posterior, slope)
        deviation = deviation + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
    return deviation, posterior
