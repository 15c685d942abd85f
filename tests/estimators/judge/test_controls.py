"""Controls, predictions and failures: what is spoiled is spoiled, and what fails is named."""

from dataclasses import replace

import numpy as np
import pytest

from dami_merge.errors import InputRefused
from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.judge.controls import consistency, only_length, paraphrases, shuffled, uncut
from dami_merge.estimators.judge.dialled import PRICES, dialled, priced, static_metrics
from dami_merge.estimators.judge.judgement import bench, judge_routing
from dami_merge.estimators.judge.predictions import (
    calibration,
    co_failures,
    needed_auroc,
    thinking_gain,
)
from dami_merge.estimators.judge.resampled import Figure95
from dami_merge.estimators.judge.routing import routed, static
from dami_merge.estimators.judge.ruling import Rivalry, Shuffled, rule
from dami_merge.estimators.judge.signatures import Signatures, need, signatures
from dami_merge.evaluation.statistics.interval import Interval
from dami_merge.evaluation.statistics.wording import points
from tests.estimators.judge.test_statistics import true_places
from tests.estimators.world import SUCCESS, TOKENS, world

QUIET = Signatures(hard=1, low_on_hard=0.0, easy=1, high_on_easy=0.0, order=0.9)


def truth(examples: Examples, kind: str = "curves") -> Estimate:
    """An estimator that knows the world."""
    value = np.array([SUCCESS[group] for group in examples.groups])
    return Estimate(
        lambdas=examples.lambdas,
        kind="curves" if kind == "curves" else "scores",
        value=value,
        cost=np.tile(TOKENS, (len(examples), 1)),
        draws=np.zeros((0, *value.shape)),
        novel=np.zeros(len(examples), dtype=np.bool_),
    )


def nothing(examples: Examples) -> Numbers:
    return np.zeros(len(examples))


# the dial


def test_the_price_moves_every_query_from_accuracy_to_thrift() -> None:
    examples = world(6, 4, 0)
    estimate = truth(examples)
    assert priced(estimate, 0.0, 100.0).tolist() == [0, 2, 4, 0, 2, 4], "of equal values, the smaller λ"
    assert priced(estimate, 1e9, 100.0).tolist() == [0] * 6
    assert priced(estimate, 1.1, 100.0).tolist() == [0, 2, 0, 0, 2, 0]


def test_a_whole_curve_is_better_than_that_of_static_lambdas_by_every_metric() -> None:
    examples = world(300, 4, 0)
    own = bench(examples, seed=0, resamples=100)
    found = dialled(own, [(truth(examples), nothing(examples))])
    fixed = static_metrics(own)
    assert len(found.points) == len(PRICES)
    assert found.points[0].accuracy > found.points[-1].accuracy
    assert found.points[0].tokens > found.points[-1].tokens == pytest.approx(10, rel=0.1)
    assert found.metrics.audc > fixed.audc + 0.05
    assert found.metrics.apgr > fixed.apgr
    assert found.metrics.hypervolume > fixed.hypervolume
    assert found.metrics.cpt80 is not None
    assert fixed.cpt80 is not None
    assert found.metrics.cpt80 < fixed.cpt80
    assert found.metrics.qnc is not None
    assert found.metrics.qnc < 0.6
    low, middle, _ = found.utilities
    assert middle.over_static.interval is not None
    assert middle.over_static.interval.low > 0.02
    expected = 0.95 - 0.02 * (10 + 40 + 100) / 3 / 100
    assert low.utility == pytest.approx(expected, abs=0.03)


def test_scores_have_a_curve_whatever_their_unit_but_no_utility() -> None:
    examples = world(90, 4, 0)
    own = bench(examples, seed=0, resamples=20)
    scores = truth(examples, "scores")
    large = replace(scores, value=scores.value * 1000)
    one = dialled(own, [(scores, nothing(examples))])
    other = dialled(own, [(large, nothing(examples))])
    assert one.points == other.points
    assert one.utilities == ()


# predictions


def test_a_true_probability_is_calibrated_and_a_bold_one_is_not() -> None:
    examples = world(600, 4, 0)
    honest = truth(examples)
    bold = replace(honest, value=np.where(honest.value > 0.5, 1.0, 0.0))
    good, bad = calibration([honest], examples), calibration([bold], examples)
    assert good is not None
    assert bad is not None
    assert good.ece < 0.02 < bad.ece
    success = np.array([SUCCESS[kind] for kind in ("easy", "middle", "hard")])
    assert good.brier == pytest.approx((success * (1 - success)).mean(), abs=0.01)
    assert good.brier < good.brier_of_means
    assert sum(each.share for each in good.bins) == pytest.approx(1)
    assert all(abs(each.predicted - each.measured) < 0.05 for each in good.bins)
    assert calibration([replace(honest, kind="scores")], examples) is None
    assert calibration([], examples) is None


def test_the_signal_of_one_who_knows_ranks_queries_that_need_thinking() -> None:
    examples = world(300, 4, 0)
    draws = bench(examples, seed=0, resamples=50).draws
    found = needed_auroc(thinking_gain(truth(examples)), examples, draws)
    assert found is not None
    assert found.interval is not None
    gain = {kind: (1 - SUCCESS[kind][0]) * SUCCESS[kind][-1] for kind in ("easy", "middle", "hard")}
    up = np.array(list(gain.values()))  # needed, by kind, in ascending order of the signal
    total = up.sum() * (1 - up).sum()
    below = np.cumsum(1 - up) - (1 - up)
    expected = (up * (below + (1 - up) / 2)).sum() / total
    assert found.value == pytest.approx(expected, abs=0.03)
    noise = needed_auroc(np.random.default_rng(0).normal(size=300), examples, draws)
    assert noise is not None
    assert noise.interval is not None
    assert noise.interval.low < 0.5 < noise.interval.high
    never = replace(examples, right=np.zeros_like(examples.right))
    assert needed_auroc(np.ones(300), never, draws) is None


def test_queries_that_nobody_answers_are_counted() -> None:
    assert co_failures(world(40, 4, 0, kinds=("vain", "easy"))) == 0.5


# failures


def test_need_orders_queries_and_is_below_zero_where_thinking_hurts() -> None:
    examples = world(30, 50, 0)
    found = need(examples).reshape(-1, 3).mean(axis=0)
    assert abs(found[0]) < 0.05
    assert found[0] + 0.1 < found[1] < found[2]
    backwards = replace(examples, right=examples.right[:, ::-1])
    assert need(backwards).mean() < 0


def test_the_failures_of_the_paper_are_named_where_they_are() -> None:
    examples = world(150, 8, 0)
    good = signatures(examples, routed(true_places(examples), 5))
    assert good.failures == ()
    assert good.order is not None
    assert good.order > 0.8
    assert good.hard > 60
    reverse = signatures(examples, routed(4 - true_places(examples), 5))
    assert len(reverse.failures) == 3
    assert "λ near 0 on hard queries" in reverse.failures[0]
    assert "λ near 1 on easy queries (100% of" in reverse.failures[1]
    assert "λ does not follow need (rank correlation -0." in reverse.failures[2]
    fixed = signatures(examples, static(4, 150, 5))
    assert fixed.order is None
    assert [each[:13] for each in fixed.failures] == ["λ near 1 on e"]
    none = signatures(world(20, 4, 0, kinds=("vain",)), static(0, 20, 5))
    assert (none.hard, none.low_on_hard, none.easy, none.high_on_easy) == (0, None, 0, None)


# controls


def test_shuffled_labels_keep_every_answer_and_lose_the_query() -> None:
    examples = world(90, 4, 0)
    spoiled = shuffled(examples, 1)
    assert spoiled.questions == examples.questions
    assert sorted(spoiled.lengths.ravel()) == sorted(examples.lengths.ravel())
    assert np.allclose(spoiled.accuracy.mean(axis=0), examples.accuracy.mean(axis=0))
    own = bench(spoiled, seed=0, resamples=200)
    gain = judge_routing(own, [routed(true_places(examples), 5)]).over_hull.interval
    assert gain is not None
    assert gain.low < 0


def test_answers_at_the_cap_are_left_out_with_queries_that_have_no_other() -> None:
    examples = world(6, 2, 0)
    cut = np.zeros_like(examples.cut)
    cut[1, 3, 0] = True
    cut[4, 2] = True
    kept, places = uncut(replace(examples, cut=cut))
    assert places == [0, 1, 2, 3, 5]
    assert kept.samples[1].tolist() == [2, 2, 2, 1, 2]
    assert kept.tokens[1, 3] == examples.lengths[1, 3, 1]


def test_length_alone_is_all_that_the_length_control_sees() -> None:
    found = only_length(world(30, 1, 0))
    assert found.vectors.shape == (30, 2)
    sizes = [len(question.messages[0].content) for question in world(30, 1, 0).questions]
    assert np.allclose(found.vectors[:, 0], np.log1p(sizes))
    assert not found.spent.any()


def test_paraphrases_are_found_by_their_ids() -> None:
    assert paraphrases(["a", "b", "c"], ["c-p", "x-p", "a-p"]) == ([0, 2], [2, 0])
    with pytest.raises(InputRefused, match="none of 1 paraphrases belongs to one of 2 queries"):
        paraphrases(["a", "b"], ["a"])


def test_a_routing_that_paraphrases_do_not_move_is_consistent() -> None:
    examples, others = world(120, 4, 0), world(120, 4, 5)
    known = routed(true_places(examples), 5)
    steady = consistency(examples, known, others, known, seed=0)
    assert (steady.queries, steady.same, steady.moved) == (120, 1.0, 0.0)
    assert steady.order == pytest.approx(1.0)
    assert steady.accuracy.interval is not None
    assert steady.accuracy.interval.low < 0 < steady.accuracy.interval.high
    lost = consistency(examples, known, others, routed(true_places(examples)[::-1].copy(), 5), seed=0)
    assert lost.same == pytest.approx(1 / 3)
    assert lost.over_static.interval is not None
    assert lost.over_static.interval.high < -0.1


# verdicts


def test_a_gain_is_claimed_only_if_shuffled_labels_do_not_win_too() -> None:
    examples = world(300, 4, 0)
    own = bench(examples, seed=0, resamples=200)
    good = judge_routing(own, [routed(true_places(examples), 5)])
    none = Shuffled(gain=Figure95(0.0, Interval(0.0, 0.0)), each=(0.0,))
    found = rule(good, QUIET, none)
    gain = points(good.over_hull.value, good.over_hull.interval)
    assert found.kind == "beats"
    assert found.sentences == (f"It beats every static mixture of λ at the same tokens: {gain}.",)
    high = Figure95(0.02, Interval(0.01, 0.03))
    refuted = rule(good, QUIET, Shuffled(gain=high, each=(0.01, 0.03)))
    assert rule(good, QUIET, Shuffled(gain=high, each=(0.05, -0.01))).kind == "beats", "one by chance"
    little = Figure95(0.001, Interval(0.0005, 0.002))
    assert rule(good, QUIET, Shuffled(gain=little, each=(0.001, 0.001))).kind == "beats", "equal to nothing"
    assert refuted.kind == "refuted"
    assert refuted.sentences[0].endswith("mixtures too: +2.0 points (95% interval +1.0 to +3.0).")
    rivalry = Rivalry(name="length only", ahead=Figure95(0.001, Interval(-0.01, 0.01)))
    assert (
        rule(good, QUIET, none, (rivalry,))
        .sentences[1]
        .startswith("It is not shown to be better than length")
    )
    ahead = Rivalry(name="length only", ahead=Figure95(-0.1, Interval(-0.2, -0.05)))
    assert rule(good, QUIET, none, (ahead,)).sentences[1].startswith("It is worse than length only: -10.0")
    ahead = Rivalry(name="length only", ahead=Figure95(0.1, Interval(0.05, 0.2)))
    assert len(rule(good, QUIET, none, (ahead,)).sentences) == 1


def test_what_adds_nothing_or_harms_is_said_in_words_with_the_failures() -> None:
    examples = world(300, 4, 0)
    own = bench(examples, seed=0, resamples=200)
    fixed = static(4, 300, 5)
    nought = rule(judge_routing(own, [fixed]), signatures(examples, fixed), None)
    assert nought.kind == "nothing"
    assert (
        nought.sentences[0]
        == "It adds nothing shown over a static λ: +0.0 points (95% interval +0.0 to +0.0)."
    )
    assert nought.sentences[1].startswith("Failure: λ near 1 on easy queries")
    reverse = judge_routing(own, [routed(4 - true_places(examples), 5)])
    assert rule(reverse, QUIET, None).kind == "worse"
    mixed = judge_routing(
        own, [routed(true_places(examples), 5)] * 9 + [routed(4 - true_places(examples), 5)]
    )
    assert mixed.over_hull.interval is not None
    assert mixed.over_hull.interval.low > 0
    unstable = rule(mixed, QUIET, None)
    assert unstable.kind == "nothing"
    assert unstable.sentences[1].startswith("The sign changes with the seed: -")
    few = rule(judge_routing(bench(world(6, 4, 0), seed=0, resamples=20), [static(1, 6, 5)]), QUIET, None)
    assert few.kind == "nothing"
    assert "6 queries are too few for an interval." in few.sentences
