"""The served set is the smallest there is, against all subsets."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.errors import InputRefused
from dami_merge.evaluation.statistics.bootstrap import resample
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.serving_grid import ServingGrid, serving_grid
from dami_merge.evaluation.statistics.table import Table, tabulate
from tests.evaluation.simulated import QUICK, binomial_range, rollout

STAIRS = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 2)), min_size=1, max_size=7).map(
    lambda steps: [
        Point(
            Fraction(n, 7),
            (50 + sum(rise for rise, _ in steps[: n + 1])) / 100,
            10.0 + sum(length for _, length in steps[: n + 1]),
        )
        for n in range(len(steps))
    ]
)
"""Paths that mostly rise, with ties and dips, so that most points are on the frontier."""


def largest_loss(points: Sequence[Point], chosen: Sequence[Point]) -> float:
    """Over every budget at which anything fits; infinite where nothing chosen fits."""

    def reached(some: Sequence[Point], budget: float) -> float:
        return max((point.accuracy for point in some if point.tokens <= budget), default=-math.inf)

    return max(reached(points, point.tokens) - reached(chosen, point.tokens) for point in points)


@QUICK
@given(STAIRS, st.integers(0, 8))
def test_no_smaller_set_and_none_of_its_size_is_nearer(points: list[Point], percent: int) -> None:
    loss = percent / 100
    found = serving_grid(points, loss=loss)
    smallest, least = next(
        (size, min(losses))
        for size in range(1, len(points) + 1)
        if (
            losses := [
                own
                for chosen in itertools.combinations(points, size)
                if (own := largest_loss(points, chosen)) <= loss + 1e-9
            ]
        )
    )
    assert len(found.lambdas) == smallest
    assert found.loss == pytest.approx(least, abs=2e-9)
    chosen = [point for point in points if point.lam in found.lambdas]
    assert largest_loss(points, chosen) == pytest.approx(found.loss)
    assert list(found.lambdas) == sorted(found.lambdas)


@pytest.mark.parametrize(("low", "high"), [(0.65, 0.66), (0.06, 0.07)])
def test_one_point_of_accuracy_is_the_default_and_is_allowed_in_floats_too(low: float, high: float) -> None:
    """0.66 - 0.65 is above 0.01 in floats, and 0.06 + 0.01 below 0.07."""
    points = [Point(Fraction(0), low, 1), Point(Fraction(1), high, 2)]
    assert serving_grid(points).lambdas == (Fraction(0),)
    assert serving_grid(points).allowed == 0.01
    assert serving_grid(points, loss=0.0099).lambdas == (Fraction(0), Fraction(1))


def test_of_two_sets_of_the_smallest_size_the_nearer_is_served() -> None:
    """Greedy alone would take 0.53, and lose two points at 0.52."""
    points = [Point(Fraction(n, 2), accuracy, n + 1.0) for n, accuracy in enumerate((0.50, 0.52, 0.53))]
    found = serving_grid(points, loss=0.02)
    assert found.lambdas == (Fraction(0), Fraction(1, 2))
    assert found.loss == pytest.approx(0.01)


def test_without_any_loss_the_whole_frontier_is_served() -> None:
    points = [Point(Fraction(n, 3), n / 10, n + 1.0) for n in range(3)]
    found = serving_grid([*points, Point(Fraction(1), 0.1, 5)], loss=0)
    assert (found.lambdas, found.loss) == (tuple(Fraction(n, 3) for n in range(3)), 0)


@pytest.mark.parametrize("loss", [-0.01, 1.5, math.nan])
def test_a_loss_that_is_no_share_is_refused(loss: float) -> None:
    with pytest.raises(InputRefused, match=r"outside \[0, 1\]"):
        serving_grid([Point(Fraction(0), 1, 1)], loss=loss)


def answers(*rows: tuple[str, int, int], questions: int = 48) -> Table:
    """One answer of every question: λ, how many are right, mean tokens, which differ by question."""
    return tabulate(
        [
            rollout(f"q{n}", lam, correct=n < right, tokens=tokens + n % 5)
            for lam, right, tokens in rows
            for n in range(questions)
        ]
    )


def of(table: Table, loss: float = 0.01) -> ServingGrid:
    drawn = resample(table, seed=0)
    return serving_grid(drawn.points, loss=loss, resamples=drawn)


def test_one_question_of_48_puts_no_lambda_on_the_list() -> None:
    found = of(answers(("0", 3, 20), ("1/2", 4, 30), ("9/10", 20, 60), ("1", 21, 80)))
    assert found.lambdas == (Fraction(0), Fraction(9, 10))
    assert [each.lam for each in found.unclear] == [Fraction(1, 2), Fraction(1)]
    half, one = found.unclear
    assert (half.better_than, one.better_than) == (Fraction(0), Fraction(9, 10))
    low, high = binomial_range(2000, 1 - (47 / 48) ** 48)  # that the question is drawn
    for each in (half, one):
        assert each.better_share is not None
        assert low <= each.better_share <= high
    whole = serving_grid(resample(answers(("0", 3, 20), ("1/2", 4, 30)), seed=0).points)
    assert whole.lambdas == (Fraction(0), Fraction(1, 2))  # as facts, without resamples


def test_every_member_has_its_share_of_the_frontier_and_over_the_one_before() -> None:
    zero, one = of(answers(("0", 10, 20), ("1", 40, 80))).members
    assert (zero.lam, zero.frontier_share, zero.better_than, zero.better_share) == (
        Fraction(0),
        1.0,
        None,
        None,
    )
    assert (one.lam, one.frontier_share, one.better_than, one.better_share) == (
        Fraction(1),
        1.0,
        Fraction(0),
        1.0,
    )
    points = [Point(Fraction(n), 0.2 + n / 2, 10.0 + n) for n in range(2)]
    assert [each.better_share for each in serving_grid(points).members] == [None, None]


def test_a_saving_that_nobody_would_notice_serves_nobody() -> None:
    """λ = 1/2 is the cheapest by two tokens of sixty, and answers far less than λ = 0."""
    found = of(answers(("0", 10, 60), ("1/2", 1, 58), ("1", 40, 180)))
    assert found.lambdas == (Fraction(0), Fraction(1))
    assert found.unclear == ()
    far = of(answers(("0", 10, 60), ("1/2", 1, 30), ("1", 40, 180)))
    assert far.lambdas == (Fraction(0), Fraction(1, 2), Fraction(1))


def test_a_lambda_whose_tokens_are_less_by_chance_only_stands_back_for_the_more_accurate() -> None:
    rows = [
        rollout(f"q{n}", lam, correct=n < right, tokens=tokens + (200 if n == odd else 0))
        for lam, right, tokens, odd in (("0", 20, 10, 0), ("1/2", 12, 13, -1), ("1", 40, 90, -1))
        for n in range(48)
    ]
    found = of(tabulate(rows))
    assert found.lambdas == (Fraction(0), Fraction(1))
