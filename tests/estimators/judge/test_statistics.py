"""The judge's statistics, held against worlds and curves whose truth is known."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from dami_merge.estimators.examples import Examples, Places
from dami_merge.estimators.judge.headroom import oracle_points, table_points, utilities
from dami_merge.estimators.judge.judgement import bench, judge_routing
from dami_merge.estimators.judge.metrics import (
    Ends,
    auroc,
    brier,
    calibration_error,
    curve_metrics,
    entropy,
    rank_correlation,
)
from dami_merge.estimators.judge.resampled import Draws, best_mixture, ends_mixture, resample_queries
from dami_merge.estimators.judge.routing import Routing, matched_random, over_seeds, routed, static
from dami_merge.evaluation.statistics.pareto import hull
from dami_merge.evaluation.statistics.point import Point
from tests.estimators.world import LAMBDAS, SUCCESS, TOKENS, world


def means(accuracy: list[float], tokens: list[float]) -> Draws:
    """Static λ with known means, without resamples."""
    return Draws(np.ones((1, 1)), np.array([accuracy]), np.array([tokens]))


def true_places(examples: Examples, mu: float = 0.1) -> Places:
    success = np.array([SUCCESS[group] for group in examples.groups])
    return np.asarray((success - mu * TOKENS / TOKENS[-1]).argmax(axis=1), dtype=np.int64)


def equal_arms(count: int, samples: int, seed: int, groups: int = 1) -> Examples:
    """Queries for which every λ has the same success and about the same tokens: nothing can be won."""
    numbers = np.random.default_rng(seed)
    base = world(count, samples, seed)
    level = numbers.uniform(0.2, 0.8, (count, 1, 1))
    right = (numbers.random(base.right.shape) < level).astype(np.int8)
    named = tuple(
        replace(question, group=f"g{place % groups}") for place, question in enumerate(base.questions)
    )
    return replace(base, questions=named, right=right, lengths=np.full(base.lengths.shape, 50))


# the hull


def test_the_hull_shares_queries_between_the_two_best_points_and_is_flat_beyond_its_end() -> None:
    draws = means([0.2, 0.5, 0.8], [10, 40, 50])
    for tokens, height in ((0, 0.2), (10, 0.2), (30, 0.5), (50, 0.8), (90, 0.8)):
        assert draws.hull(np.array([float(tokens)]))[0] == pytest.approx(height)
    for height, tokens in ((0.1, 10), (0.2, 10), (0.5, 30), (0.8, 50)):
        assert draws.tokens_for(np.array([height]))[0] == pytest.approx(tokens)
    assert np.isnan(draws.tokens_for(np.array([0.81]))[0])
    assert ends_mixture(draws, np.array([20.0]))[0] == pytest.approx(0.35)


def test_a_dearer_and_worse_point_is_no_part_of_the_hull() -> None:
    draws = means([0.6, 0.4, 0.7], [10, 20, 30])
    assert draws.hull(np.array([20.0]))[0] == pytest.approx(0.65)
    draws = means([0.6, 0.4], [10, 20])
    assert draws.hull(np.array([15.0]))[0] == pytest.approx(0.6)
    assert draws.tokens_for(np.array([0.5]))[0] == pytest.approx(10)


def test_the_best_mixture_is_the_line_through_the_corners_that_reports_draw() -> None:
    numbers = np.random.default_rng(3)
    for _ in range(20):
        accuracy, tokens = numbers.random((1, 9)), numbers.random((1, 9))
        corners = hull(
            [
                Point(Fraction(place, 8), float(accuracy[0, place]), float(tokens[0, place]), None)
                for place in range(9)
            ]
        )
        for cost in numbers.random(10):
            wanted = max(cost, tokens.min())
            line = np.interp(wanted, [each.tokens for each in corners], [each.accuracy for each in corners])
            assert best_mixture(accuracy, tokens, np.array([cost]))[0] == pytest.approx(line)


def test_the_hull_is_computed_anew_in_every_resample() -> None:
    examples = world(60, 4, 0)
    draws = resample_queries(examples, seed=0, resamples=5)
    for row in range(6):
        alone = means(draws.accuracy[row].tolist(), draws.tokens[row].tolist())
        wanted = np.full(6, 45.0)
        assert draws.hull(wanted)[row] == pytest.approx(alone.hull(wanted[:1])[0])
    assert len({round(value, 9) for value in draws.hull(np.full(6, 45.0)).tolist()}) > 3


# routings


def test_tokens_of_the_estimator_count_and_mixtures_are_expectations() -> None:
    examples = world(30, 4, 0)
    spent = np.arange(30.0)
    half = Routing(np.full((30, 5), 0.2), spent)
    assert np.allclose(half.tokens(examples), examples.tokens.mean(axis=1) + spent)
    assert np.allclose(half.accuracy(examples), examples.accuracy.mean(axis=1))
    both = over_seeds([static(0, 30, 5), static(4, 30, 5)])
    assert np.allclose(both.accuracy(examples), examples.accuracy[:, [0, 4]].mean(axis=1))
    blind = matched_random(routed(np.arange(30) % 5, 5, spent))
    assert np.allclose(blind.shares, 0.2)
    assert np.allclose(blind.spent, spent.mean())


def test_a_static_lambda_gains_nothing_and_a_router_that_knows_gains_what_it_must() -> None:
    examples = world(600, 8, 0)
    own = bench(examples, seed=0, resamples=300)
    nothing = judge_routing(own, [static(4, 600, 5)])
    gains = [nothing.over_hull.value, nothing.over_random.value, nothing.saved.value, nothing.spread_bits]
    assert gains == [0, 0, 0, 0]
    assert list(nothing.histogram) == [0, 0, 0, 0, 1]
    knows = judge_routing(own, [routed(true_places(examples), 5)])
    truth_accuracy = np.mean([0.95, 0.95, 0.95])
    truth_tokens = np.mean([10, 40, 100])
    assert knows.accuracy.value == pytest.approx(truth_accuracy, abs=0.02)
    assert knows.tokens.value == pytest.approx(truth_tokens, rel=0.05)
    static_accuracy = np.mean([SUCCESS[kind] for kind in ("easy", "middle", "hard")], axis=0)
    truth = truth_accuracy - means(static_accuracy.tolist(), TOKENS.tolist()).hull(np.array([truth_tokens]))
    interval = knows.over_hull.interval
    assert interval is not None
    assert interval.low < truth[0] < interval.high
    assert knows.over_hull.value == pytest.approx(truth[0], abs=0.03)
    assert knows.saved.value == pytest.approx(0.5, abs=0.02)
    assert knows.table is not None
    assert knows.table.won is not None
    assert knows.table.won.value == pytest.approx(1.0, abs=0.1)
    assert knows.oracle is not None
    assert knows.oracle.won is not None
    assert knows.oracle.won.value == pytest.approx(1.0, abs=0.15)
    assert knows.over_ends.value > knows.over_hull.value
    assert knows.spread_bits == pytest.approx(np.log2(3))


def test_probes_cost_what_they_spend() -> None:
    examples = world(300, 4, 1)
    own = bench(examples, seed=0, resamples=50)
    free = judge_routing(own, [routed(true_places(examples), 5)])
    dear = judge_routing(own, [routed(true_places(examples), 5, np.full(300, 25.0))])
    assert dear.spent == 25
    assert dear.tokens.value == pytest.approx(free.tokens.value + 25)
    assert dear.over_hull.value < free.over_hull.value - 0.05
    assert dear.accuracy == free.accuracy


def test_seeds_are_averaged_query_by_query_and_shown_one_by_one() -> None:
    examples = world(120, 4, 2)
    own = bench(examples, seed=0, resamples=50)
    good, bad = routed(true_places(examples), 5), routed(4 - true_places(examples), 5)
    both = judge_routing(own, [good, bad])
    assert both.accuracy.value == pytest.approx(
        (judge_routing(own, [good]).accuracy.value + judge_routing(own, [bad]).accuracy.value) / 2
    )
    assert both.by_seed[0] == pytest.approx(judge_routing(own, [good]).over_hull.value)
    assert both.by_seed[1] < 0 < both.by_seed[0]


def test_few_queries_have_no_interval() -> None:
    own = bench(world(9, 4, 0), seed=0, resamples=20)
    found = judge_routing(own, [static(2, 9, 5)])
    assert found.accuracy.interval is None
    assert found.oracle is None or found.oracle.won is None


# intervals


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    covered, worlds = 0, 200
    for seed in range(worlds):
        kinds = np.random.default_rng(seed).choice(["easy", "middle", "hard"], 120)
        examples = world(120, 2, seed, kinds=tuple(kinds.tolist()))
        draws = resample_queries(examples, seed=seed, resamples=200)
        routing = routed(true_places(examples), 5)
        gain = draws.mean(routing.accuracy(examples)) - ends_mixture(
            draws, draws.mean(routing.tokens(examples))
        )
        interval = draws.figure(gain).interval
        assert interval is not None
        low, high = np.mean([SUCCESS[kind] for kind in ("easy", "middle", "hard")], axis=0)[[0, -1]]
        truth = 0.95 - (low + (high - low) * (50 - 10) / (100 - 10))
        covered += interval.low <= truth <= interval.high
    assert 0.89 <= covered / worlds <= 0.99


# oracles


def test_only_an_oracle_that_is_scored_on_what_it_saw_wins_where_nothing_is_to_be_won() -> None:
    lucky, honest = [], []
    for seed in range(6):
        examples = equal_arms(300, 8, seed, groups=3)
        level = examples.accuracy.mean()
        own = examples.accuracy[np.arange(300), utilities(examples, 0.0).argmax(axis=1)]
        lucky.append(own.mean() - level)
        honest.append(oracle_points(examples, (0.0,))[0].mean() - level)
        honest.append(table_points(examples, (0.0,))[0].mean() - level)
    assert min(lucky) > 0.1
    assert abs(np.mean(honest)) < 0.006


def test_with_noise_alone_there_is_nothing_to_share() -> None:
    examples = equal_arms(200, 4, 0, groups=2)
    found = judge_routing(bench(examples, seed=0, resamples=200), [static(1, 200, 5)])
    assert found.table is not None
    assert found.table.won is None


def test_an_oracle_finds_what_no_text_shows_and_the_table_does_not() -> None:
    examples = world(600, 8, 0, kinds=("hidden",))
    found = judge_routing(bench(examples, seed=0, resamples=200), [static(2, 600, 5)])
    assert found.table is None, "one group is no table"
    assert found.oracle is not None
    interval = found.oracle.gain.interval
    assert interval is not None
    assert interval.low > 0.1


def test_one_sample_leaves_no_oracle_but_a_table() -> None:
    found = judge_routing(bench(world(60, 1, 0), seed=0, resamples=20), [static(1, 60, 5)])
    assert found.oracle is None
    assert found.table is not None


# metrics of whole curves


def test_a_straight_line_between_the_models_has_the_metrics_of_chance() -> None:
    shares = np.linspace(0, 1, 11)
    found = curve_metrics(0.4 + 0.4 * shares, 10 + 90 * shares, Ends((0.4, 10.0), (0.8, 100.0)))
    assert found.audc == pytest.approx(0.6)
    assert found.apgr == pytest.approx(0.5)
    assert found.cpt50 == pytest.approx(0.5)
    assert found.cpt80 == pytest.approx(0.8)
    assert found.qnc == pytest.approx(1.0)
    assert found.hypervolume == pytest.approx(0.58), "the staircase under the line"


def test_one_perfect_point_has_the_metrics_of_a_perfect_router() -> None:
    found = curve_metrics(np.array([0.9]), np.array([10.0]), Ends((0.4, 10.0), (0.8, 100.0)))
    assert found.audc == pytest.approx(0.9)
    assert found.apgr == pytest.approx(1.25), "nothing is clipped"
    assert found.qnc == pytest.approx(0.1)
    assert found.cpt50 == found.cpt80 == 0
    assert found.hypervolume == pytest.approx(0.9)


def test_a_router_that_starts_dear_is_lambda_zero_before_and_one_that_never_gets_there_says_none() -> None:
    ends = Ends((0.4, 10.0), (0.8, 110.0))
    dear = curve_metrics(np.array([0.8]), np.array([60.0]), ends)
    assert dear.audc == pytest.approx((0.6 * 50 + 0.8 * 50) / 100)
    weak = curve_metrics(np.array([0.5]), np.array([60.0]), ends)
    assert (weak.qnc, weak.cpt50, weak.cpt80) == (None, None, None)
    below = curve_metrics(np.array([0.8]), np.array([5.0]), ends)
    assert below.cpt80 == pytest.approx(-0.05)


def test_models_without_a_gap_have_no_gap_to_recover() -> None:
    found = curve_metrics(np.array([0.6]), np.array([10.0]), Ends((0.5, 10.0), (0.5, 10.0)))
    assert (found.apgr, found.audc) == (0.0, 0.6)


def test_auroc_is_the_chance_of_the_right_order_with_half_for_ties() -> None:
    numbers = np.random.default_rng(0)
    signal, positive = np.round(numbers.normal(size=40), 1), numbers.random(40) < 0.4
    weights = numbers.random(40)
    pairs = [
        (weights[one] * weights[two], (signal[one] > signal[two]) + 0.5 * (signal[one] == signal[two]))
        for one in np.flatnonzero(positive)
        for two in np.flatnonzero(~positive)
    ]
    expected = sum(weight * value for weight, value in pairs) / sum(weight for weight, _ in pairs)
    assert auroc(signal, positive, weights) == pytest.approx(expected)
    assert auroc(signal, np.ones(40, dtype=np.bool_)) is None
    assert auroc(np.arange(4.0), np.arange(4) >= 2) == 1.0


def test_the_brier_score_is_that_of_single_answers() -> None:
    numbers = np.random.default_rng(0)
    right = numbers.random((50, 4)) < 0.3
    said = numbers.random(50)
    each = ((said[:, None] - right) ** 2).mean()
    assert brier(said, right.mean(axis=1)) == pytest.approx(each)
    assert brier(np.full(3, 0.5), np.full(3, 0.5)) == 0.25


def test_calibration_is_the_mean_distance_of_bins() -> None:
    assert calibration_error(np.array([0.15, 0.15, 0.95]), np.array([0.0, 0.3, 0.95])) == pytest.approx(0.0)
    assert calibration_error(np.array([0.15, 0.95]), np.array([0.35, 1.0])) == pytest.approx(0.125)


def test_entropy_and_ranks_have_their_closed_forms() -> None:
    assert entropy(np.array([0.5, 0.25, 0.25, 0.0])) == pytest.approx(1.5)
    assert entropy(np.array([1.0, 0.0])) == 0
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 11.0])) == pytest.approx(1.0)
    assert rank_correlation(np.array([1.0, 1.0, 2.0, 2.0]), np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx(
        -0.894427, abs=1e-6
    )
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None


def test_the_lambdas_of_the_world_are_those_of_the_judge() -> None:
    assert LAMBDAS[0] == Fraction(0)
    assert LAMBDAS[-1] == Fraction(1)
