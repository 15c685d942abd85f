"""From estimates to λ: price, guard, available λ, and the budget of a batch."""

from fractions import Fraction

import numpy as np
import pytest

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.policy import Policy, choose, within_budget

LAMBDAS = (Fraction(0), Fraction(1, 2), Fraction(1))
COST = np.array([10.0, 50.0, 100.0])


def said(value: list[list[float]], *, spread: float = 0.0, novel: bool = False) -> Estimate:
    """An estimate whose draws lie symmetrically around the value at the first λ only."""
    values = np.array(value)
    draws = np.stack([values, values])
    draws[0, :, 0] += spread
    draws[1, :, 0] -= spread
    return Estimate(
        LAMBDAS, "curves", values, np.broadcast_to(COST, values.shape), draws, np.full(len(values), novel)
    )


def policy(
    mu: float = 0.0, guard: float | None = None, static: tuple[float, ...] = (0.0, 0.5, 0.2)
) -> Policy:
    return Policy(mu, 100.0, np.array(static), guard)


def test_the_highest_utility_wins_and_ties_go_to_the_smaller_lambda() -> None:
    estimate = said([[0.5, 0.6, 0.9], [0.5, 0.5, 0.5], [0.1, 0.9, 0.9]])
    assert choose(estimate, policy()).places.tolist() == [2, 0, 1]
    dear = choose(estimate, policy(mu=1.0))
    assert dear.places.tolist() == [0, 0, 1]
    assert dear.utility[0].tolist() == pytest.approx([0.4, 0.1, -0.1])


def test_a_guard_keeps_the_static_lambda_until_the_gap_exceeds_z_errors() -> None:
    estimate = said([[0.7, 0.5, 0.1]], spread=0.15)
    assert estimate.gap_error(1)[0, 0] == pytest.approx(0.15)
    free, strict = choose(estimate, policy(guard=1.0)), choose(estimate, policy(guard=2.0))
    assert (free.places.tolist(), free.held.tolist()) == ([0], [False])
    assert (strict.places.tolist(), strict.held.tolist()) == ([1], [True])


def test_a_dearer_lambda_needs_twice_the_evidence() -> None:
    estimate = said([[0.1, 0.5, 0.7]])
    draws = estimate.draws.copy()
    draws[0, :, 2] += 0.15
    draws[1, :, 2] -= 0.15
    unsure = Estimate(LAMBDAS, "curves", estimate.value, estimate.cost, draws, estimate.novel)
    assert choose(unsure, policy(guard=0.5)).places.tolist() == [2]  # 0.2 > 0.5 · 2 · 0.15
    assert choose(unsure, policy(guard=1.0)).places.tolist() == [1]  # 0.2 < 1.0 · 2 · 0.15


def test_a_novel_query_gets_the_static_lambda_only_under_a_guard() -> None:
    estimate = said([[0.9, 0.5, 0.1]], novel=True)
    assert choose(estimate, policy(guard=0.5)).places.tolist() == [1]
    assert choose(estimate, policy()).places.tolist() == [0]


def test_only_available_lambdas_are_chosen_and_the_static_one_is_the_best_of_them() -> None:
    estimate = said([[0.9, 0.5, 0.8], [0.1, 0.2, 0.3]], novel=True)
    available = np.array([False, False, True])
    assert choose(estimate, policy(), available).places.tolist() == [2, 2]
    ends = np.array([True, False, True])
    assert choose(estimate, policy(guard=0.5), ends).places.tolist() == [2, 2]  # 0.2 is better than 0.0


def test_a_budget_of_a_batch_is_kept_and_used_up_within_one_query() -> None:
    rng = np.random.default_rng(0)
    values = np.sort(rng.random((200, 3)), axis=1)
    estimate = said(values.tolist())
    rows = np.arange(200)
    for budget in (15.0, 40.0, 70.0):
        spent = estimate.cost[rows, within_budget(estimate, policy(), budget).places].mean()
        assert budget - 90 / 200 <= spent <= budget


def test_a_generous_budget_changes_nothing_and_an_impossible_one_takes_the_cheapest() -> None:
    estimate = said([[0.5, 0.6, 0.9], [0.1, 0.2, 0.9]])
    assert within_budget(estimate, policy(), 100.0).places.tolist() == [2, 2]
    assert within_budget(estimate, policy(), 1.0).places.tolist() == [0, 0]
    nobody = Estimate(LAMBDAS, "curves", *(np.zeros((0, 3)),) * 2, np.zeros((0, 0, 3)), np.zeros(0, bool))
    assert len(within_budget(nobody, policy(), 1.0).places) == 0


def test_a_budget_is_kept_with_the_lambdas_that_are_available() -> None:
    values = np.sort(np.random.default_rng(0).random((200, 3)), axis=1)
    estimate = said(values.tolist())
    found = within_budget(estimate, policy(), 60.0, np.array([False, True, True]))
    assert set(found.places.tolist()) == {1, 2}
    spent = estimate.cost[np.arange(200), found.places].mean()
    assert 60 - 50 / 200 <= spent <= 60
