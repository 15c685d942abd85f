"""Intervals against numbers worked out by hand, and against truth in simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.errors import InputRefused
from dami_merge.evaluation.statistics.interval import Interval, effective_samples, mean_interval, wilson
from tests.evaluation.simulated import QUICK, binomial_range

REPETITIONS = 600


@pytest.mark.parametrize(
    ("right", "samples", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe, Stat. Med. 17 (1998), table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),  # the mirror of 0 of 20
    ],
)
def test_wilson_agrees_with_published_values(right: int, samples: int, low: float, high: float) -> None:
    interval = wilson(right / samples, samples)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_wilson_of_one_right_of_two_agrees_with_the_formula_by_hand() -> None:
    # z² = 3.841459; (1/2 + z²/4) / (1 + z²/2) = 1/2; z √(1/8 + z²/16) / (1 + z²/2) = 1.1856 / 2.92073
    interval = wilson(0.5, 2)
    assert interval.low == pytest.approx(0.094531, abs=1e-6)
    assert interval.high == pytest.approx(0.905469, abs=1e-6)


@QUICK
@given(st.floats(0, 1), st.floats(0.5, 1e6))
def test_wilson_holds_its_share_and_stays_a_share(share: float, samples: float) -> None:
    interval = wilson(share, samples)
    assert 0 <= interval.low <= share + 1e-12
    assert share - 1e-12 <= interval.high <= 1
    assert (wilson(0, samples).low, wilson(1, samples).high) == (0, 1)
    mirror = wilson(1 - share, samples)
    assert mirror.low == pytest.approx(1 - interval.high, abs=1e-9)


@pytest.mark.parametrize(
    ("share", "samples"), [(1.1, 5), (-0.1, 5), (0.5, 0), (math.nan, 5), (0.5, math.nan)]
)
def test_what_is_no_share_has_no_interval(share: float, samples: float) -> None:
    with pytest.raises(InputRefused, match="no interval for a share of"):
        wilson(share, samples)


def test_one_sample_a_question_is_the_plain_interval() -> None:
    right = np.array([1.0, 0, 0, 1, 1, 1, 0, 1])
    assert effective_samples(right, np.ones(8, dtype=np.int64)) == pytest.approx(8, rel=1e-12)


def test_samples_that_always_agree_count_once_and_even_shares_count_all() -> None:
    four = np.full(12, 4)
    assert effective_samples(np.repeat([1.0, 0], 6), four) == 12
    assert effective_samples(np.full(12, 0.25), four) == 48
    assert effective_samples(np.ones(12), four) == 12
    assert effective_samples(np.zeros(12), four) == 12
    assert effective_samples(np.array([0.5]), np.array([4])) == 1


def test_the_design_effect_is_that_of_the_formula() -> None:
    # p = 1/2 and s² = 4 (1/4 + 1/16) / 9 = 5/36, so deff = (5/36 / 10) / (1/4 / 39) = 13/6
    shares = np.repeat([0, 0.25, 0.5, 0.75, 1], 2)
    assert effective_samples(shares, np.full(10, 4)) == pytest.approx(40 / (13 / 6))


def test_of_fewer_than_ten_questions_each_counts_once() -> None:
    assert effective_samples(np.full(9, 0.25), np.full(9, 4)) == 9
    assert effective_samples(np.full(10, 0.25), np.full(10, 4)) == 40


def test_unequal_samples_count_by_their_harmonic_mean() -> None:
    assert effective_samples(np.full(10, 0.5), np.repeat([2, 1000], 5)) == pytest.approx(
        100 / (5 / 2 + 5 / 1000)
    )


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 2.0), (0.3, 0.3), (4.0, 1.0)])
def test_the_interval_covers_the_truth_as_often_as_it_says(alpha: float, beta: float) -> None:
    """Of 120 questions with 8 samples each; the plain interval of 960 covers far less."""
    generator = np.random.default_rng(0)
    truth = alpha / (alpha + beta)
    hits = plain = 0
    for _ in range(REPETITIONS):
        chance = generator.beta(alpha, beta, size=120)
        shares = generator.binomial(8, chance) / 8
        mean = float(shares.mean())
        hits += _holds(wilson(mean, effective_samples(shares, np.full(120, 8))), truth)
        plain += _holds(wilson(mean, 960), truth)
    # a normal mean with its variance estimated from 120 questions is within 1.96 standard errors in
    # P(|t_119| < 1.96) = 0.9477 of the cases, not in 0.95
    low, high = binomial_range(REPETITIONS, 0.9477)
    assert low <= hits / REPETITIONS <= high
    assert plain / REPETITIONS < low


def test_the_interval_of_mean_tokens_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(REPETITIONS):
        interval = mean_interval(generator.gamma(4.0, 100.0, size=120))
        assert interval is not None
        hits += _holds(interval, 400.0)
    low, high = binomial_range(REPETITIONS, 0.9477)
    assert low <= hits / REPETITIONS <= high


def test_the_spread_of_fewer_than_ten_questions_is_no_interval() -> None:
    assert mean_interval(np.array([3.0])) is None
    assert mean_interval(np.arange(9.0)) is None
    # of five times 1 and 3: s² = 10/9, standard error 1/3
    interval = mean_interval(np.repeat([1.0, 3.0], 5))
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((2 - 1.959964 / 3, 2 + 1.959964 / 3))


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high
