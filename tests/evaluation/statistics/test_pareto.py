"""Frontier, hull and what dominates, against the definitions over all pairs."""

import itertools
import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.errors import InputRefused
from dami_merge.evaluation.statistics.bootstrap import resample
from dami_merge.evaluation.statistics.pareto import frontier, hull, pareto
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.table import tabulate
from tests.evaluation.simulated import QUICK, binomial_range, rollout

CLOUDS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=9).map(
    lambda pairs: [Point(Fraction(n, 9), right / 8, float(tokens)) for n, (right, tokens) in enumerate(pairs)]
)


def dominates(one: Point, other: Point) -> bool:
    """As the module says it, in the order accuracy, tokens, λ."""
    if one.accuracy < other.accuracy or one.tokens > other.tokens:
        return False
    return (one.accuracy, one.tokens) != (other.accuracy, other.tokens) or one.lam < other.lam


@QUICK
@given(CLOUDS)
def test_the_frontier_is_what_nothing_dominates(points: list[Point]) -> None:
    free = {one.lam for one in points if not any(dominates(other, one) for other in points)}
    found = pareto(points)
    assert set(found.frontier) == free == {each.lam for each in found.standings if not each.dominated_by}
    assert [each.lam for each in found.standings] == [point.lam for point in points]
    for point, standing in zip(points, found.standings, strict=True):
        by = {one.lam for one in points if one.lam in free and dominates(one, point)}
        assert set(standing.dominated_by) == by
        assert list(standing.dominated_by) == sorted(by)
        assert standing.frontier_share is None
    order = [(point.tokens, point.accuracy) for point in frontier(points)]
    assert order == sorted(order)


@QUICK
@given(CLOUDS)
def test_a_corner_of_the_hull_is_above_every_mixture_of_two_others(points: list[Point]) -> None:
    corners = hull(points)
    free = frontier(points)
    expected = []
    for point in free:
        mixtures = [
            Fraction(low.accuracy)
            + (Fraction(high.accuracy) - Fraction(low.accuracy))
            * (Fraction(point.tokens) - Fraction(low.tokens))
            / (Fraction(high.tokens) - Fraction(low.tokens))
            for low, high in itertools.permutations(points, 2)
            if low.tokens < point.tokens < high.tokens
        ]
        if all(mixture < Fraction(point.accuracy) for mixture in mixtures):
            expected.append(point)
    assert list(corners) == expected
    assert (corners[0], corners[-1]) == (free[0], free[-1])


@QUICK
@given(CLOUDS, st.randoms())
def test_the_order_of_points_changes_nothing(points: list[Point], random: Random) -> None:
    assert pareto(random.sample(points, len(points))) == pareto(points)


def test_of_equal_accuracy_fewer_tokens_win_and_of_equal_both_the_smaller_lambda() -> None:
    third = Fraction(1, 3)
    points = [
        Point(Fraction(0), 0.5, 9),
        Point(third, 0.5, 7),
        Point(2 * third, 0.5, 7),
        Point(Fraction(1), 0.4, 7),
    ]
    found = pareto(points)
    assert found.frontier == found.hull == (third,)
    assert [each.dominated_by for each in found.standings] == [(third,), (), (third,), (third,)]


def test_a_point_on_the_line_is_on_the_frontier_and_no_corner() -> None:
    points = [Point(Fraction(n, 2), n / 4, n + 1.0) for n in range(3)]
    assert len(pareto(points).frontier) == 3
    assert pareto(points).hull == (Fraction(0), Fraction(1))


def test_shares_of_the_frontier_are_joint_over_all_lambdas() -> None:
    """λ = 1/2 is right on one question more than λ = 0, and costs more; λ = 1 is λ = 1/2 again."""
    rollouts = [
        rollout(f"q{n}", lam, correct=n > 0 or lam != "0", tokens=5 if lam == "0" else 6)
        for n in range(10)
        for lam in ("0", "1/2", "1")
    ]
    drawn = resample(tabulate(rollouts), seed=0)
    zero, half, one = pareto(drawn.points, resamples=drawn).standings
    assert (zero.dominated_by, half.dominated_by, one.dominated_by) == ((), (), (Fraction(1, 2),))
    assert (zero.frontier_share, one.frontier_share) == (1, 0)
    low, high = binomial_range(2000, 1 - 0.9**10)  # that the question is drawn
    assert half.frontier_share is not None
    assert low <= half.frontier_share <= high


def test_shares_are_those_of_every_resample_sorted_alone() -> None:
    generator = np.random.default_rng(0)
    lambdas = [str(Fraction(n, 5)) for n in range(6)]
    rollouts = [
        rollout(f"q{q}", lam, correct=bool(generator.random() < 0.5), tokens=int(generator.integers(1, 4)))
        for q in range(12)
        for lam in lambdas
    ]
    drawn = resample(tabulate(rollouts), seed=0, resamples=200)
    wins = dict.fromkeys(lambdas, 0)
    for accuracy, tokens in zip(drawn.accuracy.tolist(), drawn.tokens.tolist(), strict=True):
        points = [
            Point(Fraction(lam), *pair)
            for lam, pair in zip(lambdas, zip(accuracy, tokens, strict=True), strict=True)
        ]
        for lam in pareto(points).frontier:
            wins[str(lam)] += 1
    for standing in pareto(drawn.points, resamples=drawn).standings:
        assert standing.frontier_share == pytest.approx(wins[str(standing.lam)] / 200)


@pytest.mark.parametrize(
    ("accuracy", "tokens", "closed", "fact"),
    [
        (46.6, 1, None, "accuracy 46.6 is outside .*pass a share, not a percentage"),
        (0.5, -1, None, "tokens -1"),
        (math.nan, 1, None, "accuracy nan"),
        (0.5, math.inf, None, "tokens inf"),
        (0.5, 1, 1.4, "closed share 1.4"),
    ],
)
def test_a_point_with_a_wrong_number_is_refused(
    accuracy: float, tokens: float, closed: float | None, fact: str
) -> None:
    with pytest.raises(InputRefused, match=fact):
        Point(Fraction(1, 2), accuracy, tokens, closed)


def test_no_points_and_two_of_one_lambda_are_refused() -> None:
    with pytest.raises(InputRefused, match="there are no points"):
        pareto([])
    with pytest.raises(InputRefused, match=r"duplicate point at λ = 0\.50"):
        pareto([Point(Fraction(1, 2), 0, 1), Point(Fraction(1, 2), 1, 1)])
