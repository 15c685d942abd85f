"""The served set is the smallest there is, against all subsets."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.errors import InputRefused
from dami_merge.evaluation.point import Point
from dami_merge.evaluation.serving_grid import serving_grid

CLOUDS = st.lists(st.tuples(st.integers(50, 62), st.integers(1, 9)), min_size=1, max_size=7).map(
    lambda pairs: [
        Point(Fraction(n, 7), right / 100, float(tokens)) for n, (right, tokens) in enumerate(pairs)
    ]
)


def largest_loss(points: Sequence[Point], chosen: Sequence[Point]) -> float:
    """Over every budget at which anything fits; infinite where nothing chosen fits."""

    def reached(some: Sequence[Point], budget: float) -> float:
        return max((point.accuracy for point in some if point.tokens <= budget), default=-math.inf)

    return max(reached(points, point.tokens) - reached(chosen, point.tokens) for point in points)


@given(CLOUDS, st.integers(0, 12))
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


def test_one_point_of_accuracy_is_the_default_and_is_allowed_in_floats_too() -> None:
    points = [Point(Fraction(0), 0.65, 1), Point(Fraction(1), 0.66, 2)]  # 0.66 - 0.65 > 0.01 in floats
    assert serving_grid(points).lambdas == (Fraction(0),)
    assert serving_grid(points).allowed == 0.01
    assert serving_grid(points, loss=0.0099).lambdas == (Fraction(0), Fraction(1))


def test_without_any_loss_the_whole_frontier_is_served() -> None:
    points = [Point(Fraction(n, 3), n / 10, n + 1.0) for n in range(3)]
    found = serving_grid([*points, Point(Fraction(1), 0.1, 5)], loss=0)
    assert (found.lambdas, found.loss) == (tuple(Fraction(n, 3) for n in range(3)), 0)


@pytest.mark.parametrize("loss", [-0.01, 1.5, math.nan])
def test_a_loss_that_is_no_share_is_refused(loss: float) -> None:
    with pytest.raises(InputRefused, match=r"outside \[0, 1\]"):
        serving_grid([Point(Fraction(0), 1, 1)], loss=loss)
