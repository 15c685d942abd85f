"""What one λ is in numbers."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.evaluation.statistics.interval import wilson
from dami_merge.evaluation.statistics.lambda_summary import PassAt, pass_at, summarise_lambdas
from dami_merge.evaluation.statistics.table import tabulate
from tests.evaluation.simulated import QUICK, rollout


def test_each_question_counts_once_however_many_samples_it_has() -> None:
    table = tabulate(
        [
            rollout("a", "1/2", 0, correct=True, tokens=10, thinking="closed"),
            rollout("a", "1/2", 1, correct=False, tokens=20, thinking="closed", finish="length"),
            rollout("a", "1/2", 2, correct=False, tokens=60, thinking="unclosed", finish="length"),
            rollout("b", "1/2", 0, correct=True, tokens=50, thinking="wrong-tag"),
            rollout("c", "1", 0, correct=True),
        ]
    )
    half, whole = summarise_lambdas(table)
    assert (half.lam, half.questions, half.samples) == (Fraction(1, 2), 2, 4)
    assert half.accuracy == pytest.approx((1 / 3 + 1) / 2)
    assert half.tokens == 40
    assert half.median_tokens == 35
    assert half.tokens_interval is None
    assert (half.closed, half.unclosed, half.wrong_tag, half.cut) == pytest.approx(
        (1 / 3, 1 / 6, 1 / 2, 1 / 3)
    )
    assert half.accuracy_interval == wilson(half.accuracy, half.effective_samples)
    assert [(each.k, each.questions) for each in half.passes] == [(1, 2), (2, 1), (3, 1)]
    assert [each.share for each in half.passes] == pytest.approx([2 / 3, 2 / 3, 1])
    assert (whole.questions, whole.tokens_interval, whole.passes) == (1, None, (PassAt(1, 1.0, 1),))


def test_a_lambda_without_answers_in_a_group_has_no_row() -> None:
    table = tabulate([rollout("a", "0", group="x"), rollout("b", "1", group="y")])
    assert [row.lam for row in summarise_lambdas(table.of_group("x"))] == [0]
    assert summarise_lambdas(table.of_group("z")) == ()


@QUICK
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=5))
def test_pass_at_k_is_the_share_of_all_draws_of_k_that_hold_a_right_answer(answers: list[list[bool]]) -> None:
    passes = pass_at(np.array([len(own) for own in answers]), np.array([sum(own) for own in answers]))
    assert [each.k for each in passes] == list(range(1, max(map(len, answers)) + 1))
    for each in passes:
        enough = [own for own in answers if len(own) >= each.k]
        draws = [[any(draw) for draw in itertools.combinations(own, each.k)] for own in enough]
        assert each.questions == len(enough)
        assert each.share == pytest.approx(sum(sum(own) / len(own) for own in draws) / len(draws), abs=1e-12)
