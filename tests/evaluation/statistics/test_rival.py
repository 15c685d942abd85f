"""A λ replaces Thinking only if it is shown to be as accurate; else one reads how many questions it takes."""

import math
from fractions import Fraction

import pytest

from dami_merge.evaluation.statistics.bootstrap import Difference
from dami_merge.evaluation.statistics.interval import Interval
from dami_merge.evaluation.statistics.rival import (
    FEWEST_FOR_EQUAL,
    questions_needed,
    rival,
    within_margin,
)


def against(
    lam: str, accuracy: float, half: float | None, ratio: float, *, questions: int = 500
) -> Difference:
    """λ against Thinking, with an interval of ± half."""
    tokens = 100 * (ratio - 1)
    return Difference(
        start=Fraction(1),
        stop=Fraction(lam),
        questions=questions,
        accuracy=accuracy,
        accuracy_interval=None if half is None else Interval(accuracy - half, accuracy + half),
        tokens=tokens,
        tokens_interval=None if half is None else Interval(tokens - 1, tokens + 1),
        tokens_ratio=ratio,
        tokens_ratio_interval=None,
    )


def test_the_cheapest_that_is_shown_to_be_as_accurate_is_chosen() -> None:
    cells = [against("0", -0.4, 0.02, 0.1), against("1/2", -0.01, 0.02, 0.6), against("3/4", 0.02, 0.02, 0.8)]
    found = rival(cells)
    assert found is not None
    assert (found.difference.stop, found.equal, found.needed) == (Fraction(1, 2), True, None)


def test_one_that_may_lose_more_than_three_points_is_not_shown_to_be_equal() -> None:
    found = rival([against("1/2", -0.15, 0.15, 0.6, questions=200)])
    assert found is not None
    assert (found.equal, found.needed) == (False, 5000)  # five times narrower


def test_of_those_that_are_not_shown_the_most_accurate_is_named() -> None:
    found = rival([against("1/4", -0.04, 0.05, 0.4), against("3/4", -0.01, 0.05, 0.8)])
    assert found is not None
    assert (found.difference.stop, found.equal) == (Fraction(3, 4), False)


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [against("1/2", -0.2, 0.05, 0.6)],  # clearly less accurate
        [against("1/2", 0.0, 0.01, 0.96)],  # hardly cheaper
        [against("1/2", 0.0, 0.01, 1.3)],
    ],
)
def test_what_is_worse_or_not_cheaper_is_no_rival(cells: list[Difference]) -> None:
    assert rival(cells) is None


def test_few_questions_never_show_equality_even_if_all_agree() -> None:
    """Of 121 questions without one of a kind that makes up 3%, chance is to blame in 0.97**121 = 2.51%."""
    assert FEWEST_FOR_EQUAL == 122
    assert 0.97**121 > 0.025 > 0.97**122
    few, enough = (rival([against("1/2", 0.0, 0.0, 0.5, questions=n)]) for n in (121, 122))
    assert few is not None
    assert enough is not None
    assert (few.equal, few.needed) == (False, 130)
    assert enough.equal
    assert within_margin(Interval(-0.03, 0.03), 122)
    assert not within_margin(Interval(-0.03, 0.03), 121)
    assert not within_margin(Interval(-0.01, 0.031), 500)
    assert not within_margin(Interval(-0.031, 0.01), 500)


def test_twenty_questions_can_show_that_a_lambda_is_better() -> None:
    found = rival([against("1/2", 0.3, 0.2, 0.5, questions=20)])
    assert found is not None
    assert found.equal
    unsure = rival([against("1/2", 0.2, 0.2, 0.5, questions=20)])
    assert unsure is not None
    assert not unsure.equal


def test_a_published_difference_speaks_for_itself() -> None:
    found = rival([against("0.8", 0.001, None, 17574 / 22813, questions=30)])
    assert found is not None
    assert found.equal
    assert rival([against("0.6", -0.094, None, 0.55)]) is None


@pytest.mark.parametrize(
    ("questions", "half", "needed"), [(20, 0.15, 500), (100, 0.05, 280), (48, 0.146, 1200), (122, 0.001, 130)]
)
def test_an_interval_narrows_with_the_root_of_the_questions(questions: int, half: float, needed: int) -> None:
    assert questions_needed(questions, Interval(-half, half)) == needed
    assert needed >= questions * (half / 0.03) ** 2
    assert needed > math.floor(questions)
