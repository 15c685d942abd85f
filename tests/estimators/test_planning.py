"""A plan puts answers where they tell most, and says beforehand how much they tell."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from dami_merge.estimators.examples import examples_of
from dami_merge.estimators.planning import AnswerCounts, answer_counts, next_answers
from dami_merge.estimators.precision import spreads
from dami_merge.estimators.success import believe
from dami_merge.evaluation.questions.question import Message, Question
from dami_merge.evaluation.rollouts import Rollouts
from dami_merge.evaluation.rollouts_file import Sidecar, settings_of
from dami_merge.sampling import SamplingSettings
from tests.estimators.world import TOKENS, world
from tests.evaluation.simulated import rollout

Table = NDArray[np.int64]

LAMBDAS = tuple(Fraction(step, 5) for step in range(6))
PATH = np.linspace(0.0, 1.0, 6)


def counts(correct: Table, samples: Table) -> AnswerCounts:
    names = tuple(f"q{place}" for place in range(len(correct)))
    return AnswerCounts(names, LAMBDAS, correct, samples, np.linspace(10.0, 100.0, len(LAMBDAS)))


def truth(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Success of queries whose difficulty varies, with a little of its own at each λ."""
    hard = rng.normal(0, 2, (count, 1)) + rng.normal(0, 0.5, (count, len(PATH)))
    success: NDArray[np.float64] = 1 / (1 + np.exp(hard + 2 - 4 * PATH))
    return success


def errors(seed: int) -> list[float]:
    """Mean squared errors of the success: after a plan, after as many answers that were spread evenly."""
    rng = np.random.default_rng(seed)
    success = truth(rng, 100)
    samples = np.full(success.shape, 2)
    samples[80:] = 0
    correct = rng.binomial(samples, success)
    planned = next_answers(counts(correct, samples), samples.size // 2).more
    assert planned.sum() == samples.size // 2
    even = np.zeros(samples.size, dtype=np.int64)
    even[rng.permutation(samples.size)[: samples.size // 2]] = 1
    return [
        float(
            ((believe(correct + rng.binomial(more, success), samples + more).success - success) ** 2).mean()
        )
        for more in (planned, even.reshape(samples.shape))
    ]


def test_planned_answers_leave_a_smaller_error_than_answers_that_are_spread_evenly() -> None:
    found = np.array([errors(seed) for seed in range(8)])
    better = found[:, 1] - found[:, 0]
    assert found[:, 0].mean() < 0.95 * found[:, 1].mean()
    assert better.mean() > 2 * better.std(ddof=1) / np.sqrt(len(better))


def test_the_variance_that_is_expected_is_about_the_error_that_follows() -> None:
    rng = np.random.default_rng(0)
    success = truth(rng, 300)
    samples = np.full(success.shape, 3)
    correct = rng.binomial(samples, success)
    plan = next_answers(counts(correct, samples), 1500)
    found = believe(correct + rng.binomial(plan.more, success), samples + plan.more).success
    assert plan.after < plan.even < plan.before
    assert ((found - success) ** 2).mean() == pytest.approx(plan.after, rel=0.35)


def test_no_answer_goes_to_queries_that_are_always_answered_while_others_are_unsure() -> None:
    samples = np.full((40, len(LAMBDAS)), 6)
    correct = np.where(np.arange(40)[:, None] < 20, 6, 3) * np.ones_like(samples)
    more = next_answers(counts(correct, samples), 60).more
    assert (more[:20].sum(), more[20:].sum()) == (0, 60)


def test_a_query_that_lacks_some_lambdas_is_completed_at_once_or_not_at_all() -> None:
    rng = np.random.default_rng(1)
    samples = np.full((60, len(LAMBDAS)), 2)
    samples[50:, 2:] = 0
    correct = rng.binomial(samples, truth(rng, 60))
    for budget in (3, 4, 18):
        plan = next_answers(counts(correct, samples), budget)
        fewest, added = (samples + plan.more).min(axis=1), plan.more.sum(axis=1)
        assert np.logical_or(fewest > 0, added == 0).all()
        assert plan.more.sum() == len(plan.order) == budget
    assert (fewest[50:] > 0).any()
    nothing = np.zeros_like(samples)
    assert next_answers(counts(nothing, nothing), len(LAMBDAS) - 1).more.sum() == 0


def test_a_plan_per_token_takes_fewer_tokens_for_the_same_number_of_answers() -> None:
    rng = np.random.default_rng(2)
    samples = np.full((60, len(LAMBDAS)), 2)
    answered = counts(rng.binomial(samples, truth(rng, 60)), samples)
    by_answer, by_token = (next_answers(answered, 100, per=per) for per in ("answer", "token"))
    assert by_token.tokens < 0.8 * by_answer.tokens
    assert by_answer.after < by_token.after < by_token.before


def test_an_answer_at_one_lambda_tells_of_the_others() -> None:
    samples = np.full((60, len(LAMBDAS)), 4)
    samples[50:, 1:] = 0
    correct = np.where(np.arange(60)[:, None] % 2, samples, 0)
    found = believe(correct, samples).success
    assert found[51::2, 1:].mean() > 0.8
    assert found[50::2, 1:].mean() < 0.2


def test_questions_without_answers_are_counted_with_those_that_have_some() -> None:
    questions = {name: Question(name, (Message("user", name),), "1") for name in ("asked", "half", "never")}
    settings = settings_of({"kind": "test"}, "default", SamplingSettings())
    rows = [
        rollout("asked", "0/1", 0, correct=False, tokens=10),
        rollout("asked", "1/1", 0, tokens=30),
        rollout("asked", "1/1", 1, tokens=50),
        rollout("half", "0/1", 0, tokens=20),
    ]
    found = answer_counts(Rollouts(rows), Sidecar(settings=settings, questions=questions))
    assert found.questions == ("asked", "half", "never")
    assert found.lambdas == (Fraction(0), Fraction(1))
    assert found.samples.tolist() == [[1, 2], [1, 0], [0, 0]]
    assert found.correct.tolist() == [[0, 2], [1, 0], [0, 0]]
    assert found.tokens.tolist() == [15.0, 40.0]
    assert examples_of(Rollouts(rows), Sidecar(settings=settings, questions=questions)).questions == (
        questions["asked"],
    )


def test_the_questions_that_are_needed_follow_from_a_sweep_with_fewer_answers() -> None:
    few, many = (spreads(world(3000, samples, 5)) for samples in (2, 16))
    for each, other in zip(few, many, strict=True):
        assert each.needed(16) == pytest.approx(other.needed_as_measured(), rel=0.12)
        assert other.needed(2) == pytest.approx(each.needed_as_measured(), rel=0.12)
        assert each.half_width == pytest.approx(0.01 * np.sqrt(each.needed_as_measured() / 3000), rel=0.01)


def test_as_many_questions_as_are_needed_give_the_half_width_that_was_asked_for() -> None:
    whole, rng = world(3000, 4, 6), np.random.default_rng(0)
    needed = spreads(whole)[0].needed(4, margin=0.05)
    drops = [spreads(whole.part(rng.integers(0, 3000, needed)))[0].drop for _ in range(200)]
    assert 1.96 * float(np.std(drops, ddof=1)) == pytest.approx(0.05, rel=0.15)


def test_one_answer_a_question_cannot_tell_the_parts_of_the_spread_apart() -> None:
    one = spreads(world(60, 1, 0))[0]
    assert (one.between, one.within) == (None, None)
    assert one.needed_as_measured() > 1
    with pytest.raises(ValueError, match="no parts without two answers"):
        one.needed(4)


def test_too_few_questions_have_no_spread() -> None:
    assert spreads(world(9, 4, 0)) == ()
    assert len(spreads(world(10, 4, 0))) == len(TOKENS) - 1
