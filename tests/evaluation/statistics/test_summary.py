"""A sweep in one value: finished or not, in any order, under any names, and as JSON."""

import json
import random
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest

from dami_merge.errors import InputRefused, LambdaError
from dami_merge.evaluation.grading.thinking import Thinking
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.statistics.summary import SweepReport, summarise, sweep_value
from tests.evaluation.simulated import rollout

LAMBDAS = ("0", "1/4", "1/2", "3/4", "1")
CLOSED = (0.0, 0.0, 0.5, 1.0, 1.0)


def simulated(questions: int = 40, samples: int = 3) -> list[Rollout]:
    """Accuracy rises, tokens dip at λ = 1/2, thinking begins there; cells are of unequal size."""
    generator = np.random.default_rng(0)
    made = []
    for q in range(questions):
        ease = generator.random()
        for place, lam in enumerate(LAMBDAS):
            for k in range(samples - (q + place) % 2):
                thinking: Thinking = "closed" if generator.random() < CLOSED[place] else "none"
                tokens = int(generator.integers(80, 120)) + (100, 200, 50, 300, 400)[place]
                made.append(
                    rollout(
                        f"q{q}",
                        lam,
                        k,
                        correct=bool(generator.random() < ease + place / 10),
                        tokens=tokens,
                        thinking=thinking,
                        group="odd" if q % 2 else "even",
                    )
                )
    return made


@pytest.fixture(scope="module")
def rollouts() -> list[Rollout]:
    return simulated()


@pytest.fixture(scope="module")
def report(rollouts: list[Rollout]) -> SweepReport:
    return summarise(rollouts, seed=7, resamples=300)


def test_a_report_names_what_was_simulated(report: SweepReport) -> None:
    assert report.lambdas == tuple(map(Fraction, LAMBDAS))
    assert (report.seed, report.resamples, report.settings) == (7, 300, ("s",))
    assert [(each.group, each.questions) for each in report.groups] == [("even", 20), ("odd", 20)]
    overall = report.overall
    assert (overall.group, overall.questions, len(overall.rows)) == (None, 40, 5)
    found = overall.comparison
    assert found is not None
    assert found.questions == 40
    assert [(each.start, each.stop) for each in found.neighbours] == [
        (Fraction(n, 4), Fraction(n + 1, 4)) for n in range(4)
    ]
    assert [(each.start, each.stop) for each in found.against_instruct] == [
        (Fraction(0), Fraction(n, 4)) for n in range(1, 5)
    ]
    assert [(each.start, each.stop) for each in found.against_thinking] == [
        (Fraction(1), Fraction(n, 4)) for n in range(4)
    ]
    (dip,) = [each for each in found.violations if each.metric == "tokens"]
    assert (dip.start, dip.stop, dip.confidence) == (Fraction(1, 4), Fraction(1, 2), 1)
    assert dip.interval is not None
    assert dip.interval.low < 150 < dip.interval.high
    assert (found.stages.start, found.stages.stop) == (Fraction(1, 4), Fraction(3, 4))
    zero, _, half, *_ = found.pareto.standings
    assert Fraction(1, 2) in zero.dominated_by
    assert (half.frontier_share, found.pareto.frontier[0]) == (1, Fraction(1, 2))
    assert found.serving is not None
    assert found.serving.lambdas[0] == Fraction(1, 2)


def test_rows_and_points_of_a_finished_sweep_agree(report: SweepReport) -> None:
    assert report.overall.comparison is not None
    for row, point in zip(report.overall.rows, report.overall.comparison.points, strict=True):
        assert (row.lam, row.questions) == (point.lam, 40)
        assert (row.accuracy, row.tokens, row.closed) == pytest.approx(
            (point.accuracy, point.tokens, point.closed)
        )
        assert row.accuracy_interval.low < row.accuracy < row.accuracy_interval.high
        assert 40 <= row.effective_samples < row.samples


def test_a_group_is_summarised_as_its_questions_alone(rollouts: list[Rollout], report: SweepReport) -> None:
    alone = summarise([each for each in rollouts if each.group == "odd"], seed=7, resamples=300)
    assert alone.groups == ()
    assert msgspec.structs.replace(alone.overall, group="odd") == report.groups[1]


def test_the_order_of_rollouts_and_the_names_of_questions_change_nothing(
    rollouts: list[Rollout], report: SweepReport
) -> None:
    shuffled = random.Random(1).sample(rollouts, len(rollouts))
    assert summarise(shuffled, seed=7, resamples=300) == report
    names = {f"q{n}": f"{(n * 17) % 40:02}-other" for n in range(40)}
    renamed = [msgspec.structs.replace(each, question=names[each.question]) for each in rollouts]
    assert summarise(renamed, seed=7, resamples=300) == report
    reordered = [msgspec.structs.replace(each, sample=9 - each.sample) for each in rollouts]
    assert summarise(reordered, seed=7, resamples=300) == report
    assert summarise(rollouts, seed=8, resamples=300) != report


def test_a_single_resample_has_intervals_without_width(rollouts: list[Rollout]) -> None:
    found = summarise(rollouts, seed=0, resamples=1).overall.comparison
    assert found is not None
    intervals = [each.tokens_interval for each in found.neighbours]
    assert [each is not None and each.low == each.high for each in intervals] == [True] * 4


def test_an_unfinished_sweep_is_compared_on_what_all_lambdas_have(rollouts: list[Rollout]) -> None:
    half = [each for each in rollouts if each.fraction != "3/4" or int(each.question[1:]) < 15]
    found = summarise(half, seed=0, resamples=50).overall
    assert [row.questions for row in found.rows] == [40, 40, 40, 15, 40]
    assert found.comparison is not None
    assert found.comparison.questions == 15
    assert {each.questions for each in found.comparison.neighbours} == {15}
    shared = [each for each in half if int(each.question[1:]) < 15]
    assert found.comparison == summarise(shared, seed=0, resamples=50).overall.comparison
    others = [Fraction(n, 4) for n in (0, 1, 2, 4)]
    without = summarise(half, seed=0, resamples=50, lambdas=others)
    assert without.lambdas == tuple(others)
    assert without.overall.comparison is not None
    assert without.overall.comparison.questions == 40
    alone = summarise([each for each in half if each.fraction != "3/4"], seed=0, resamples=50)
    assert alone.overall.comparison is not None
    assert without.overall.comparison.neighbours == alone.overall.comparison.neighbours


def test_lambdas_without_a_shared_question_have_rows_and_no_comparison() -> None:
    apart = [rollout("a", "0", settings="s"), rollout("b", "1", settings="t")]
    found = summarise(apart, seed=0)
    assert [row.lam for row in found.overall.rows] == [0, 1]
    assert found.overall.comparison is None
    assert found.settings == ("s", "t")
    assert summarise(apart, seed=0, lambdas=[Fraction(1)]).settings == ("t",)


def test_without_the_ends_nothing_is_compared_with_them() -> None:
    found = summarise([rollout("a", "1/2"), rollout("a", "3/4")], seed=0, resamples=10).overall.comparison
    assert found is not None
    assert (found.against_instruct, found.against_thinking) == ((), ())
    assert len(found.neighbours) == 1


def test_a_report_is_json_with_lambdas_as_text(report: SweepReport) -> None:
    value: dict[str, Any] = json.loads(json.dumps(sweep_value(report), allow_nan=False))
    assert value["lambdas"] == ["0/1", "1/4", "1/2", "3/4", "1/1"]
    overall = value["overall"]
    assert [row["lambda"] for row in overall["rows"]] == value["lambdas"]
    assert overall["rows"][0]["accuracy_interval"].keys() == {"low", "high"}
    comparison = overall["comparison"]
    assert comparison["pareto"]["frontier"][0] == "1/2"
    assert comparison["pareto"]["standings"][1]["lambda"] == "1/4"
    assert comparison["neighbours"][0]["start"] == "0/1"
    assert comparison["violations"][-1]["stop"] == "1/2"
    assert comparison["stages"]["switch"] == ["1/4", "1/2", "3/4"]
    conclusion = comparison["conclusion"]
    assert (conclusion["kind"], conclusion["better"]) == ("too few questions", [])
    assert conclusion["needed"] > 40
    assert [gain["lambda"] for gain in conclusion["gains"]] == ["1/4", "1/2", "3/4"]
    assert conclusion["rival"]["difference"]["stop"] == "3/4"
    assert {change["quantity"] for change in conclusion["changes"]} >= {"closed", "tokens"}
    assert comparison["serving"]["members"][0]["lambda"] == comparison["serving"]["lambdas"][0]
    assert value["groups"][0]["group"] == "even"


def test_a_report_without_rollouts_or_of_an_unknown_lambda_is_refused(rollouts: list[Rollout]) -> None:
    with pytest.raises(InputRefused, match="there are no rollouts"):
        summarise([], seed=0)
    with pytest.raises(LambdaError, match=r"λ = 0\.30 is not in these rollouts"):
        summarise(rollouts, seed=0, lambdas=[Fraction(3, 10)])
    with pytest.raises(InputRefused, match=r"a loss of 2 is outside \[0, 1\]"):
        summarise(rollouts, seed=0, resamples=1, loss=2)
