"""Pairs of λ by accuracy first and tokens second: the rules, what they drop, and what they count."""

import numpy as np
import pytest

from dami_merge.estimators.examples import Examples
from dami_merge.estimators.pairs import PairOptions, Rule, Unanswered, preferences
from tests.estimators.world import LAMBDAS, world


def one_query(right: list[int], tokens: list[int], samples: int = 4) -> Examples:
    """A query with so many right answers of `samples` at three λ."""
    base = world(1, samples, 0)
    cells = np.array([[[1] * count + [0] * (samples - count) for count in right]], dtype=np.int8)
    lengths = np.array([[[count] * samples for count in tokens]], dtype=np.int64)
    return Examples(base.questions, LAMBDAS[:3], cells, lengths, np.zeros(cells.shape, dtype=np.bool_), "s")


def test_accuracy_decides_first_and_tokens_second() -> None:
    options = PairOptions(rule="hard", cost_weight=0.5)
    weights, counts = preferences(one_query([2, 4, 4], [5, 30, 20]), options)
    assert weights[0].tolist() == [[0, 0, 0], [1, 0, 0], [1, 0.5, 0]]
    assert (counts.by_accuracy, counts.by_tokens, counts.undecided, counts.dropped) == (2, 1, 0, 0)


def test_equal_lambdas_are_undecided() -> None:
    _, counts = preferences(one_query([2, 4, 4], [5, 20, 20]), PairOptions(rule="hard"))
    assert (counts.by_accuracy, counts.by_tokens, counts.undecided) == (2, 0, 1)


def test_the_robust_rule_calls_one_answer_a_tie_and_wants_a_margin_of_tokens() -> None:
    options = PairOptions(rule="robust", cost_weight=1)
    weights, counts = preferences(one_query([3, 4, 4], [20, 18, 30]), options)
    assert weights[0].tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 0]]
    assert (counts.by_accuracy, counts.by_tokens) == (0, 3)
    weights, _ = preferences(one_query([3, 4, 4], [20, 18, 30]), PairOptions(rule="robust", margin=0.2))
    assert weights[0, 0, 1] == weights[0, 1, 0] == 0


def test_soft_weights_follow_the_evidence() -> None:
    """P(p₂ > p₁) for Beta posteriors of 1 and 3 right answers of 4, and of 4 and 12 of 16."""
    options = PairOptions(rule="soft", cost_weight=0)
    few = preferences(one_query([1, 3, 3], [5, 5, 5]), options)[0][0]
    many = preferences(one_query([4, 12, 12], [5, 5, 5], samples=16), options)[0][0]
    draws = np.random.default_rng(0)
    truth = (draws.beta(4, 2, 200_000) > draws.beta(2, 4, 200_000)).mean()
    assert few[1, 0] == pytest.approx(truth, abs=0.02)
    assert few[0, 1] == pytest.approx(1 - few[1, 0], abs=1e-6)
    assert many[1, 0] > 0.99
    assert few[1, 2] == 0


@pytest.mark.parametrize(("rule", "wanted"), [("drop", 0.0), ("cheapest", 0.3), ("prefer-max", 0.0)])
def test_a_query_that_nothing_answers_follows_its_own_rule(rule: Unanswered, wanted: float) -> None:
    both = world(2, 4, 0, kinds=("easy", "vain"))
    weights, counts = preferences(both, PairOptions(rule="hard", unanswered=rule))
    assert counts.unanswered == 1
    assert counts.dropped == (10 if rule == "drop" else 0)
    assert weights[1, 0, 4] == wanted
    assert weights[1, 4, 0] == (1.0 if rule == "prefer-max" else 0.0)
    assert counts.by_accuracy + counts.by_tokens + counts.undecided + counts.dropped == 20


@pytest.mark.parametrize("rule", ["hard", "robust", "soft"])
def test_hard_rules_prefer_one_of_two(rule: Rule) -> None:
    weights, counts = preferences(world(30, 4, 1), PairOptions(rule=rule))
    both = (weights > 0) & (weights.transpose(0, 2, 1) > 0)
    assert both.any() == (rule == "soft")
    assert not weights[:, range(5), range(5)].any()
    assert counts.queries == 30
