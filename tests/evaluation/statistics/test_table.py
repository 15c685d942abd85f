"""Rollouts in any order become one table, and what contradicts itself is refused."""

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.errors import InputRefused, LambdaError
from dami_merge.evaluation.statistics.table import exact_means, tabulate
from tests.evaluation.simulated import QUICK, rollout

UNFINISHED = [
    rollout("hard", "0", 0, correct=False, tokens=4, thinking="none", group="b"),
    rollout("hard", "0", 1, correct=False, tokens=9, thinking="unclosed", finish="length", group="b"),
    rollout("hard", "1/2", 0, correct=True, tokens=30, group="b"),
    rollout("easy", "0.5", 0, correct=True, tokens=20, thinking="wrong-tag", group="a"),
    rollout("easy", "1/2", 1, correct=False, tokens=10, group="a"),
    rollout("easy", "1/2", 2, correct=True, tokens=15, group="a"),
]


def test_a_cell_is_the_mean_of_its_samples_and_an_empty_one_is_nan() -> None:
    table = tabulate(UNFINISHED)
    assert table.lambdas == (Fraction(0), Fraction(1, 2))
    assert (table.questions, table.groups) == (("easy", "hard"), ("a", "b"))
    assert table.samples.tolist() == [[0, 3], [2, 1]]
    np.testing.assert_array_equal(table.accuracy, [[np.nan, 2 / 3], [0, 1]])
    np.testing.assert_array_equal(table.tokens, [[np.nan, 15], [6.5, 30]])
    assert table.lengths.tolist() == [[[-1, -1, -1], [10, 15, 20]], [[4, 9, -1], [30, -1, -1]]]
    states = (table.closed, table.unclosed, table.wrong_tag, table.cut)
    assert [each.tolist() for each in states] == [
        [[0, 2], [0, 1]],
        [[0, 0], [1, 0]],
        [[0, 1], [0, 0]],
        [[0, 0], [1, 0]],
    ]


def test_only_questions_that_every_lambda_has_are_shared() -> None:
    table = tabulate(UNFINISHED)
    assert table.shared().questions == ("hard",)
    assert table.shared().lengths.tolist() == [[[4, 9, -1], [30, -1, -1]]]
    assert table.at([Fraction(1, 2)]).shared().questions == ("easy", "hard")
    assert table.at([Fraction(0)]).questions == ("hard",)
    assert table.of_group("a").questions == ("easy",)
    assert table.of_group("a").lambdas == table.lambdas
    assert table.of_group("a").shared().questions == ()
    assert table.of_group("c").samples.shape == (0, 2)


def test_a_lambda_that_nothing_was_measured_at_cannot_be_picked() -> None:
    with pytest.raises(LambdaError, match=r"λ = 0\.30 is not in these rollouts") as refused:
        tabulate(UNFINISHED).at([Fraction(3, 10), Fraction(0)])
    assert refused.value.hint == "available: 0.00, 0.50"
    with pytest.raises(LambdaError, match="the grid has no λ"):
        tabulate(UNFINISHED).at([])


def test_rows_in_another_order_make_the_same_table() -> None:
    table = tabulate(UNFINISHED)
    for seed in range(20):
        other = tabulate(random.Random(seed).sample(UNFINISHED, len(UNFINISHED)))
        assert (other.questions, other.groups, other.lambdas) == (
            table.questions,
            table.groups,
            table.lambdas,
        )
        np.testing.assert_array_equal(other.lengths, table.lengths)
        np.testing.assert_array_equal(other.correct, table.correct)


def test_questions_stand_from_easy_to_hard_whatever_their_names() -> None:
    rights = {"a": (0, 0), "b": (1, 1), "c": (1, 0), "d": (0, 0)}
    rollouts = [
        rollout(name, lam, correct=bool(right), tokens=5 if name == "d" else 7)
        for name, pair in rights.items()
        for lam, right in zip(("0", "1"), pair, strict=True)
    ]
    assert tabulate(rollouts).questions == ("b", "c", "d", "a")


def test_a_sweep_without_rollouts_is_refused() -> None:
    with pytest.raises(InputRefused, match=r"there are no rollouts \(run the sweep first\)"):
        tabulate([])


def test_everything_that_contradicts_is_named_at_once() -> None:
    wrong = [
        rollout("a", "1/2"),
        rollout("a", "0.5"),
        rollout("b", "3/2"),
        rollout("c", "0", tokens=-1),
        rollout("c", "1", group="other"),
        rollout("d", "1", finish="length", settings="t"),
    ]
    with pytest.raises(InputRefused, match=r"duplicate rollout: question 'a', λ = 0\.5, sample 0") as caught:
        tabulate(wrong)
    codes = [problem.code for problem in caught.value.problems]
    assert codes == ["duplicate", "lambda", "tokens", "group", "cut", "settings"]
    messages = [problem.message for problem in caught.value.problems]
    assert messages[1:] == [
        "question 'b', λ = 3/2, sample 0: λ = 3/2 is outside [0, 1]",
        "question 'c', λ = 0, sample 0 has -1 tokens, must be at least 0",
        "question 'c', λ = 1, sample 0: the question is in two groups, '' and 'other'",
        "question 'd', λ = 1, sample 0 was truncated at the cap but is marked correct",
        "λ = 1.00 has answers from 2 settings: s, t",
    ]


def test_two_lambdas_may_have_been_sampled_with_two_settings() -> None:
    table = tabulate([rollout("a", "0", settings="s"), rollout("a", "1", settings="t")])
    assert table.settings == ("s", "t")
    assert table.at([Fraction(1)]).settings == ("t",)


@QUICK
@given(
    st.lists(
        st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2
    ).flatmap(lambda cells: st.tuples(st.just(cells), st.permutations(cells)))
)
def test_equal_means_of_unequal_cells_are_equal_numbers(
    columns: tuple[list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    sums, samples = (np.array([[a[i], b[i]] for a, b in zip(*columns, strict=True)]) for i in (0, 1))
    means, scale = exact_means(sums, samples)
    first, second = (means.sum(axis=0) / scale).tolist()
    truth = sum((Fraction(*cell) for cell in columns[0]), Fraction(0))
    assert first == second == float(truth)


def test_counts_too_uneven_for_integers_still_give_means() -> None:
    primes = np.array([[53], [59], [61], [67], [71], [73], [79], [83], [89], [97]])
    means, scale = exact_means(primes * 2, primes)
    assert scale == 1
    np.testing.assert_array_equal(means, np.full((10, 1), 2.0))
