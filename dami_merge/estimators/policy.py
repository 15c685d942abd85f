"""From an estimate to a λ: utility is value minus μ times cost, and a guard holds back what is not shown.

The guard (ours) leaves the best static λ only where the utility of another exceeds its by z standard errors
of the difference, by twice as many for a λ that costs more, and only for a query that is not novel. It does
not promise that a router is never worse: evidence of another kind of queries can be wrong.
"""

from dataclasses import dataclass

import numpy as np

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Flags, Numbers, Places

DEARER = 2.0
"""How many times more evidence a λ needs that costs more than the static one."""


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """How an estimate becomes a λ.

    Attributes:
        mu: Price of tokens: what a mean answer of the largest λ costs in units of the value, which for
            curves is a probability of success. Below 0 for scores that are to prefer larger λ.
        scale: Mean tokens of the largest λ over the measured queries.
        static: Utility at this μ of every λ for all measured queries, shape [Λ]: the best is the static λ.
        guard: z; None means that the λ of the highest utility is taken.
    """

    mu: float
    scale: float
    static: Numbers
    guard: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """Chosen λ of n queries.

    Attributes:
        places: Place of the λ, shape [n].
        held: Whether the guard kept the static λ although another had a higher utility, shape [n].
        utility: Value minus μ times cost over scale, shape [n, Λ].
    """

    places: Places
    held: Flags
    utility: Numbers


def choose(estimate: Estimate, policy: Policy, available: Flags | None = None) -> Choices:
    """Choose a λ for each query; of equally good λ the smaller.

    Args:
        estimate: Predictions for n queries.
        policy: The price of tokens and the guard.
        available: Which λ may be chosen, shape [Λ], at least one; None means all.
    """
    utility = estimate.value - policy.mu * estimate.cost / policy.scale
    allowed = np.ones(utility.shape[1], dtype=np.bool_) if available is None else available
    static = int(np.where(allowed, policy.static, -np.inf).argmax())
    open_ = np.where(allowed, utility, -np.inf)
    best = np.asarray(open_.argmax(axis=1), dtype=np.int64)
    if policy.guard is None:
        return Choices(best, np.zeros(len(best), dtype=np.bool_), utility)
    dearer = estimate.cost > estimate.cost[:, static : static + 1]
    needed = policy.guard * np.where(dearer, DEARER, 1.0) * estimate.gap_error(static)
    shown = (utility - utility[:, static : static + 1] > needed) & ~estimate.novel[:, None]
    shown[:, static] = True
    guarded = np.asarray(np.where(shown, open_, -np.inf).argmax(axis=1), dtype=np.int64)
    return Choices(guarded, guarded != best, utility)


def within_budget(
    estimate: Estimate, policy: Policy, tokens: float, available: Flags | None = None
) -> Choices:
    """Choose λ for a batch so that its predicted mean tokens stay within a budget (Lagrange multiplier).

    Args:
        estimate: Predictions for the n queries of the batch.
        policy: The policy whose μ is a lower bound: a generous budget leaves its choices as they are.
        tokens: Mean predicted tokens that may be spent.
        available: Which λ may be chosen, shape [Λ], at least one; None means all.

    Returns:
        Choices of the smallest μ that keeps the budget; if even the cheapest λ of every query exceed it,
        these.
    """
    rows = np.arange(len(estimate))

    def at(mu: float) -> Choices:
        return choose(estimate, Policy(mu, policy.scale, policy.static, None), available)

    def spends(found: Choices) -> float:
        return float(estimate.cost[rows, found.places].mean())

    first = choose(estimate, policy, available)
    if not len(estimate) or spends(first) <= tokens:
        return first
    low, high = policy.mu, max(abs(policy.mu), 1.0)
    while spends(at(high)) > tokens:
        low, high = high, 4 * high
        if high > 1e12:
            return at(high)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if spends(at(middle)) <= tokens else (middle, high)
    return at(high)
