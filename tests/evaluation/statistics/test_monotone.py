"""Falls are found where they are, and believed as far as the questions bear them out."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.errors import InputRefused
from dami_merge.evaluation.statistics.bootstrap import resample
from dami_merge.evaluation.statistics.monotone import violations
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.table import tabulate
from tests.evaluation.simulated import QUICK, binomial_range, rollout, sweep

LAMBDAS = tuple(Fraction(n, 4) for n in range(5))


def path(accuracy: list[float], tokens: list[float]) -> list[Point]:
    return [Point(*values) for values in zip(LAMBDAS, accuracy, tokens, strict=False)]


def test_a_path_that_rises_or_stays_has_no_violation() -> None:
    assert violations(path([0, 0.5, 0.5, 1], [1, 1, 2, 3])) == ()
    assert violations(path([0.5], [7])) == ()


def test_a_dip_is_told_against_the_neighbour_and_against_the_best_before() -> None:
    found = violations(path([0.25, 0.75, 0.75, 0.25, 0.5], [10, 20, 30, 40, 35])[::-1])
    assert [(each.metric, each.start, each.stop, each.drop) for each in found] == [
        ("accuracy", Fraction(1, 2), Fraction(3, 4), 0.5),  # of two equally good the nearer
        ("accuracy", Fraction(1, 2), Fraction(1), 0.25),
        ("tokens", Fraction(3, 4), Fraction(1), 5),
    ]
    assert {(each.interval, each.confidence) for each in found} == {(None, None)}


@QUICK
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_violations_are_those_of_the_definition(values: list[int]) -> None:
    found = {(each.start, each.stop) for each in violations(path([v / 4 for v in values], [0] * len(values)))}
    expected = set()
    for after in range(1, len(values)):
        best = max(values[:after])
        nearest = max(n for n in range(after) if values[n] == best)
        for before in {nearest, after - 1}:
            if values[before] > values[after]:
                expected.add((LAMBDAS[before], LAMBDAS[after]))
    assert found == expected


def test_a_fall_on_every_question_is_certain_and_one_on_a_single_question_is_not() -> None:
    everywhere = [rollout(f"q{n}", lam, tokens=9 - int(lam)) for n in range(20) for lam in ("0", "1")]
    drawn = resample(tabulate(everywhere), seed=0)
    (fall,) = violations(drawn.points, resamples=drawn)
    assert (fall.drop, fall.confidence) == (1, 1)
    assert fall.interval is not None
    assert (fall.interval.low, fall.interval.high) == (1, 1)
    once = [
        rollout(f"q{n}", lam, tokens=9 - (lam == "1" and n == 0)) for n in range(20) for lam in ("0", "1")
    ]
    drawn = resample(tabulate(once), seed=0)
    (fall,) = violations(drawn.points, resamples=drawn)
    assert fall.drop == pytest.approx(0.05)
    # the question is drawn at least once in 1 - (19/20)^20 of the resamples
    low, high = binomial_range(2000, 1 - 0.95**20)
    assert fall.confidence is not None
    assert low <= fall.confidence <= high


def test_equal_columns_of_unequal_cells_do_not_fall_by_rounding() -> None:
    thirds = [(1, 3), (2, 3), (3, 3), (1, 2), (0, 2), (1, 1), (2, 3)]
    rollouts = [
        rollout(f"q{n}", lam, k, correct=k < right)
        for lam, cells in (("0", thirds), ("1/2", thirds[::-1]), ("1", sorted(thirds)))
        for n, (right, samples) in enumerate(cells)
        for k in range(samples)
    ]
    drawn = resample(tabulate(rollouts), seed=0)
    assert violations(drawn.points, resamples=drawn) == ()


@pytest.mark.slow
def test_a_path_that_does_not_fall_is_seldom_said_to_fall_with_confidence() -> None:
    generator = np.random.default_rng(0)
    false = 0
    for repetition in range(400):
        right = generator.random((80, 2, 4)) < generator.random((80, 1, 1))
        table = tabulate(sweep(right, np.ones_like(right, dtype=np.int64), (Fraction(0), Fraction(1))))
        drawn = resample(table, seed=repetition, resamples=400)
        found = violations(drawn.points, resamples=drawn)
        false += any((each.confidence or 0) > 0.95 for each in found)
    assert false / 400 <= binomial_range(400, 0.055)[1]
    assert false > 0


def test_a_lambda_that_was_not_resampled_has_no_confidence_to_give() -> None:
    drawn = resample(tabulate([rollout("a", "0")]), seed=0)
    with pytest.raises(InputRefused, match="was not resampled"):
        violations([Point(Fraction(0), 1, 1), Point(Fraction(1), 0, 1)], resamples=drawn)
