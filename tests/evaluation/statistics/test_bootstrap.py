"""Resamples are of questions, the same for all λ, and their intervals cover the truth."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from dami_merge.errors import InputRefused
from dami_merge.evaluation.grading.thinking import Thinking
from dami_merge.evaluation.statistics.bootstrap import percentiles, published, resample
from dami_merge.evaluation.statistics.interval import FEWEST, Interval
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.table import Table, tabulate
from tests.evaluation.simulated import binomial_range, rollout, sweep

ZERO, HALF, ONE = Fraction(0), Fraction(1, 2), Fraction(1)
REPETITIONS = 400


def test_points_are_the_means_of_the_shared_questions() -> None:
    drawn = resample(
        tabulate(
            [
                rollout("a", "0", 0, correct=True, tokens=10, thinking="none"),
                rollout("a", "0", 1, correct=False, tokens=30),
                rollout("a", "1", 0, correct=True, tokens=100),
                rollout("b", "0", 0, correct=False, tokens=40, thinking="none"),
                rollout("b", "1", 0, correct=True, tokens=50),
                rollout("c", "0", 0, correct=False, tokens=7000),
            ]
        ),
        seed=0,
    )
    assert drawn.questions == 2
    first, last = drawn.points
    assert (first, last) == (Point(ZERO, 0.25, 30, 0.25, 0.25), Point(ONE, 1, 75, 1, 1))
    found = drawn.difference(ZERO, ONE)
    assert (found.start, found.stop, found.questions) == (ZERO, ONE, 2)
    assert (found.accuracy, found.tokens, found.tokens_ratio) == (0.75, 45, 2.5)
    # a alone: 20 and 100 tokens; b alone: 40 and 50; more than a fortieth of all resamples each
    assert percentiles(drawn.tokens[:, 1] - drawn.tokens[:, 0]) == Interval(10, 80)
    assert percentiles(drawn.tokens[:, 1] / drawn.tokens[:, 0]) == Interval(1.25, 5)


def _ten(count: int) -> Table:
    """Questions of which the first four are answered only at λ = 1, which has twice the tokens."""
    return tabulate(
        [
            rollout(f"q{n}", lam, correct=lam == "1" or n >= 4, tokens=(1 + n) * (1 + (lam == "1")))
            for n in range(count)
            for lam in ("0", "1")
        ]
    )


def test_a_difference_has_an_interval_from_ten_questions_on_and_turns_round() -> None:
    drawn = resample(_ten(10), seed=0)
    found, back = drawn.difference(ZERO, ONE), drawn.difference(ONE, ZERO)
    assert found.accuracy_interval is not None
    assert back.accuracy_interval is not None
    assert (back.accuracy, back.accuracy_interval.low) == (-0.4, -found.accuracy_interval.high)
    assert found.accuracy_interval.low <= 0.1
    assert found.tokens_ratio_interval == Interval(2, 2)
    assert drawn.confidence(drawn.tokens[:, 1] > drawn.tokens[:, 0]) == 1


@pytest.mark.parametrize("questions", [1, 2, 9])
def test_fewer_than_ten_questions_have_no_interval_and_no_confidence(questions: int) -> None:
    drawn = resample(_ten(questions), seed=0)
    found = drawn.difference(ZERO, ONE)
    intervals = (found.accuracy_interval, found.tokens_interval, found.tokens_ratio_interval)
    assert (found.questions, intervals) == (questions, (None, None, None))
    assert found.tokens_ratio == 2
    assert drawn.confidence(drawn.tokens[:, 1] > drawn.tokens[:, 0]) is None


@pytest.mark.parametrize(("questions", "covered"), [(2, 0.5), (FEWEST, 0.904)])
def test_intervals_of_ten_questions_cover_ninety_percent_and_of_two_only_half(
    questions: int, covered: float
) -> None:
    """Of 10: ±1.96 √(9/10) standard errors, P(|t_9| < 1.859); of two, it reaches from one to the other."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(1500):
        values = generator.normal(size=questions)
        found = percentiles(values[generator.integers(questions, size=(500, questions))].mean(axis=1))
        hits += found.low <= 0 <= found.high
    low, high = binomial_range(1500, covered)
    assert low <= hits / 1500 <= high


def test_published_points_are_compared_as_they_are_and_without_an_interval() -> None:
    points = [Point(ONE, 0.8, 200, 1), Point(ZERO, 0.5, 100)]
    drawn = published(points, questions=3)
    found = drawn.difference(ZERO, ONE)
    assert (drawn.questions, drawn.few, drawn.points) == (3, False, tuple(points[::-1]))
    assert found.accuracy == pytest.approx(0.3)
    assert found.tokens_ratio == 2
    assert (found.accuracy_interval, found.tokens_interval) == (None, None)
    assert drawn.closed.tolist() == [[0, 1]]
    with pytest.raises(InputRefused, match="there are no points"):
        published([])


def test_shares_of_thinking_blocks_are_resampled_with_the_rest() -> None:
    """Of 40 answers, half have a block and a quarter one that is closed; all that have one are long."""
    states: tuple[Thinking, ...] = ("none", "none", "closed", "unclosed")
    rows = [
        rollout(f"q{n}", "0", thinking=states[n % 4], tokens=10 * (states[n % 4] != "none"))
        for n in range(40)
    ]
    drawn = resample(tabulate(rows), seed=0)
    (point,) = drawn.points
    assert (point.opened, point.closed) == (0.5, 0.25)
    np.testing.assert_allclose(drawn.opened * 10, drawn.tokens)
    # the spread of 2,000 means is known to 1 / √4000 of itself; four times that
    assert drawn.closed.std() == pytest.approx(math.sqrt(3 / 16 / 40), rel=4 / math.sqrt(4000))


def test_every_resample_draws_as_many_questions_as_there_are() -> None:
    """Of two questions: both once in half of the resamples, each twice in a quarter."""
    drawn = resample(tabulate([rollout("a", "0", tokens=0), rollout("b", "0", tokens=8)]), seed=3)
    seen = Counter(drawn.tokens[:, 0].tolist())
    assert set(seen) == {0.0, 4.0, 8.0}
    for value, chance in ((0.0, 0.25), (4.0, 0.5), (8.0, 0.25)):
        low, high = binomial_range(2000, chance)
        assert low <= seen[value] / 2000 <= high


def test_the_same_questions_are_drawn_for_every_lambda() -> None:
    generator = np.random.default_rng(0)
    right, tokens = generator.random((50, 1, 4)) < 0.5, generator.integers(1, 99, (50, 1, 4))
    drawn = resample(tabulate(sweep(right.repeat(2, 1), tokens.repeat(2, 1), (ZERO, ONE))), seed=0)
    np.testing.assert_array_equal(drawn.accuracy[:, 0], drawn.accuracy[:, 1])
    found = drawn.difference(ZERO, ONE)
    assert found.tokens_interval == Interval(0, 0)
    assert found.tokens_ratio_interval is not None
    assert (found.tokens_ratio_interval.low, found.tokens_ratio_interval.high) == (1, 1)
    assert drawn.accuracy[:, 0].std() > 0


def test_resamples_spread_as_far_as_questions_do_and_more_than_one_block_is_joined() -> None:
    generator = np.random.default_rng(1)
    tokens = generator.integers(1, 1000, (3000, 1, 1))
    drawn = resample(tabulate(sweep(np.ones_like(tokens, dtype=bool), tokens, (ZERO,))), seed=0)
    assert drawn.tokens.shape == (2000, 1)
    assert (drawn.accuracy == 1).all()
    # the spread of 2,000 values is known to 1 / √4000 of itself; four times that
    assert drawn.tokens.std() == pytest.approx(tokens.std() / math.sqrt(3000), rel=4 / math.sqrt(4000))


def test_a_seed_names_its_resamples() -> None:
    table = tabulate([rollout(f"q{n}", "0", tokens=n) for n in range(30)])
    first, again, other = (resample(table, seed=seed, resamples=50) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert (first.tokens != other.tokens).any()


def test_lambdas_without_a_shared_question_cannot_be_compared() -> None:
    table = tabulate([rollout("a", "0"), rollout("b", "1")])
    with pytest.raises(
        InputRefused, match=r"no question has an answer at all 2 λ[^?]*resamples is 0, must be at least 1"
    ):
        resample(table, seed=0, resamples=0)
    drawn = resample(table.at([ZERO]), seed=0, resamples=1)
    with pytest.raises(InputRefused, match=r"λ = 1\.00 was not resampled"):
        drawn.difference(ZERO, ONE)


def test_no_ratio_is_told_where_a_resample_has_no_tokens() -> None:
    table = tabulate([rollout(q, lam, tokens=int(q == "b")) for q in "ab" for lam in ("0", "1")])
    found = resample(table, seed=0).difference(ZERO, ONE)
    assert found.tokens_ratio is None
    assert found.tokens_ratio_interval is None


@pytest.mark.slow
def test_paired_intervals_cover_the_truth_as_often_as_they_say_and_unpaired_ones_far_more() -> None:
    """100 very unequal questions, 4 samples; λ = 1/2 raises each chance by .1 and mean tokens by 50."""
    accuracy = tokens = unpaired = 0
    for repetition in range(REPETITIONS):
        table = _unequal_questions(np.random.default_rng(repetition))
        drawn = resample(table, seed=repetition, resamples=500)
        found = drawn.difference(ZERO, HALF)
        assert found.accuracy_interval is not None
        assert found.tokens_interval is not None
        accuracy += found.accuracy_interval.low <= 0.1 <= found.accuracy_interval.high
        tokens += found.tokens_interval.low <= 50 <= found.tokens_interval.high
        other = resample(table, seed=REPETITIONS + repetition, resamples=500)
        low, high = np.quantile(other.tokens[:, 1] - drawn.tokens[:, 0], [0.025, 0.975])
        unpaired += low <= 50 <= high
    # a percentile interval of N = 100 is ±1.96 √(99/100) standard errors wide: P(|t_99| < 1.950) = 0.946,
    # and its ends are quantiles of 500 resamples, whose own scatter costs another 0.003
    low, high = binomial_range(REPETITIONS, 0.943)
    assert low <= accuracy / REPETITIONS <= high
    assert low <= tokens / REPETITIONS <= high
    assert unpaired / REPETITIONS > high


def _unequal_questions(generator: np.random.Generator) -> Table:
    chance = generator.choice([0.02, 0.85], size=(100, 1, 1)) + np.array([0, 0.1])[None, :, None]
    right: NDArray[np.bool_] = generator.random((100, 2, 4)) < chance
    length = generator.integers(0, 5000, (100, 1, 1)) + np.array([0, 50])[None, :, None]
    return tabulate(sweep(right, length + generator.integers(0, 101, (100, 2, 4)), (ZERO, HALF)))
