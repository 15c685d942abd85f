"""Rollouts with known truth, and how far a share of repetitions may be from its probability."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray

from dami_merge.evaluation.generation import Finish
from dami_merge.evaluation.grading.thinking import Thinking
from dami_merge.evaluation.rollout import Rollout

QUICK = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def rollout(
    question: str,
    lam: str,
    sample: int = 0,
    *,
    correct: bool = True,
    tokens: int = 10,
    thinking: Thinking = "closed",
    finish: Finish = "stop",
    group: str = "",
    settings: str = "s",
) -> Rollout:
    return Rollout(
        question=question,
        group=group,
        fraction=lam,
        sample=sample,
        text="",
        tokens=tokens,
        finish=finish,
        thinking=thinking,
        answer=None,
        correct=correct,
        seconds=0.0,
        settings=settings,
    )


def sweep(
    correct: NDArray[np.bool_], tokens: NDArray[np.int64], lambdas: Sequence[Fraction]
) -> list[Rollout]:
    """Rollouts of dense arrays of shape [N, Λ, K]."""
    return [
        rollout(f"q{q}", str(lam), k, correct=bool(correct[q, place, k]), tokens=int(tokens[q, place, k]))
        for q in range(correct.shape[0])
        for place, lam in enumerate(lambdas)
        for k in range(correct.shape[2])
    ]


def binomial_range(repetitions: int, probability: float, error: float = 1e-3) -> tuple[float, float]:
    """Shares between which a binomial one falls but for a chance of `error` on each side."""
    ways = [math.lgamma(n + 1) for n in range(repetitions + 1)]
    hits = np.arange(repetitions + 1)
    logs = ways[-1] - np.array(ways) - np.array(ways[::-1])
    logs += hits * math.log(probability) + (repetitions - hits) * math.log1p(-probability)
    below = np.cumsum(np.exp(logs))
    low = int(np.searchsorted(below, error))
    high = int(np.searchsorted(below, 1 - error))
    return low / repetitions, high / repetitions
