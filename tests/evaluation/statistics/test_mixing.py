"""A λ between the ends against sending a share of the queries to each end, by hand and over all shares."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.evaluation.statistics.bootstrap import published, resample
from dami_merge.evaluation.statistics.mixing import gain_matrix, gains
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.table import tabulate
from tests.evaluation.simulated import QUICK, binomial_range, rollout

HALF = Fraction(1, 2)
THREE = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=3, max_size=3).map(
    lambda rows: [Point(Fraction(n, 2), right / 10, float(tokens)) for n, (right, tokens) in enumerate(rows)]
)


@pytest.mark.parametrize(
    ("middle", "queries", "gain"),
    [
        ((0.5, 20.0), 0.25, 0.5 - 0.4),  # a quarter of the way from 10 to 50 tokens, and from .2 to 1
        ((0.5, 60.0), 1, 0.5 - 1),  # more tokens than Thinking
        ((0.5, 5.0), 0, 0.5 - 0.2),  # fewer than Instruct: no mixture is as cheap
    ],
)
def test_a_gain_is_what_is_above_the_line_between_the_ends(
    middle: tuple[float, float], queries: float, gain: float
) -> None:
    points = [Point(Fraction(0), 0.2, 10), Point(HALF, *middle), Point(Fraction(1), 1, 50)]
    (found,) = gains(published(points))
    assert found.lam == HALF
    assert found.queries == pytest.approx(queries)
    assert found.gain == pytest.approx(gain)
    assert (found.interval, found.confidence) == (None, None)


@QUICK
@given(THREE)
def test_no_mixture_within_the_tokens_is_better_than_the_one_that_is_compared(points: list[Point]) -> None:
    first, middle, last = points
    (found,) = gains(published(points))
    assert 0 <= found.queries <= 1
    shares = [Fraction(n, 1000) for n in range(1001)]
    fitting = [
        float(first.accuracy + float(share) * (last.accuracy - first.accuracy))
        for share in shares
        if first.tokens + share * (Fraction(last.tokens) - Fraction(first.tokens)) <= middle.tokens
    ]
    if fitting:
        assert middle.accuracy - found.gain == pytest.approx(max(fitting), abs=2e-3)
    else:
        fewest = min(first.tokens, last.tokens)
        cheapest = [end.accuracy for end in (first, last) if end.tokens == fewest]
        assert any(middle.accuracy - found.gain == pytest.approx(accuracy) for accuracy in cheapest)


def test_a_gain_is_as_sure_as_the_resamples_in_which_it_is_one() -> None:
    """Of forty questions, λ = 1/2 answers one that the mixture does not, at the tokens of λ = 0."""
    rows = [
        rollout(f"q{n}", lam, correct=n < right, tokens=tokens)
        for lam, right, tokens in (("0", 10, 10), ("1/2", 11, 10), ("1", 30, 50))
        for n in range(40)
    ]
    drawn = resample(tabulate(rows), seed=0)
    (found,) = gains(drawn)
    assert found.gain == pytest.approx(1 / 40)
    assert found.interval is not None
    assert found.interval.low == 0
    low, high = binomial_range(2000, 1 - (39 / 40) ** 40)
    assert found.confidence is not None
    assert low <= found.confidence <= high
    np.testing.assert_allclose(gain_matrix(drawn)[:, 0], drawn.accuracy[:, 1] - drawn.accuracy[:, 0])


def test_only_lambdas_between_the_ends_have_a_gain() -> None:
    points = [Point(Fraction(n, 3), 0.5, n + 1.0) for n in range(4)]
    assert [each.lam for each in gains(published(points))] == [Fraction(1, 3), Fraction(2, 3)]
    assert gains(published(points[:2])) == ()
    assert gains(published(points[:1])) == ()
