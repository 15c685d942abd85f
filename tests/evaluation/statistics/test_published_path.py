"""The published path of Qwen3-4B-2507 yields what its authors saw in it.

Table of "Revisiting Model Interpolation for Efficient Reasoning", arXiv 2510.10977: λ, AIME25 mean@64,
tokens, share of closed thinking blocks, IFEval, tokens, GPQA-Diamond, tokens; shares in percent.
"""

from fractions import Fraction

import pytest

from dami_merge.evaluation.statistics.bootstrap import published
from dami_merge.evaluation.statistics.conclusion import conclude
from dami_merge.evaluation.statistics.monotone import Metric, violations
from dami_merge.evaluation.statistics.pareto import pareto
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.serving_grid import serving_grid
from dami_merge.evaluation.statistics.stages import stages
from dami_merge.evaluation.statistics.summary import compare_lambdas
from dami_merge.evaluation.statistics.verdict import verdict

PUBLISHED = (
    ("0", 46.6, 15097, 0, 83.5, 1174, 41.3, 570),
    ("0.2", 52.2, 16794, 0, 79.7, 4933, 48.9, 1107),
    ("0.4", 55.8, 12448, 1.4, 70.2, 6492, 61.3, 5634),
    ("0.5", 62.5, 11189, 59.6, 68.8, 2932, 64.5, 7548),
    ("0.6", 71.0, 12681, 100, 85.9, 1445, 66.2, 8769),
    ("0.8", 80.5, 17574, 99.9, 86.9, 1556, 66.2, 8427),
    ("1", 80.4, 22813, 99.9, 86.6, 2091, 65.8, 9114),
)
AIME = [Point(Fraction(row[0]), row[1] / 100, row[2], row[3] / 100) for row in PUBLISHED]
IFEVAL = [Point(Fraction(row[0]), row[4] / 100, row[5]) for row in PUBLISHED]
GPQA = [Point(Fraction(row[0]), row[6] / 100, row[7]) for row in PUBLISHED]


def lambdas(*texts: str) -> tuple[Fraction, ...]:
    return tuple(map(Fraction, texts))


def falls(points: list[Point], metric: Metric) -> list[tuple[Fraction, ...]]:
    found = violations(points)
    assert {(each.interval, each.confidence) for each in found} == {(None, None)}
    return [(each.start, each.stop) for each in found if each.metric == metric]


def dominated(points: list[Point]) -> dict[Fraction, tuple[Fraction, ...]]:
    return {each.lam: each.dominated_by for each in pareto(points).standings if each.dominated_by}


def test_thinking_comes_in_three_stages() -> None:
    found = stages(AIME)
    assert found.before == lambdas("0", "0.2")
    assert found.switch == lambdas("0.4", "0.5", "0.6")
    assert found.after == lambdas("0.8", "1")
    assert (found.start, found.stop) == lambdas("0.4", "0.6")


def test_aime_tokens_fall_into_the_switch_and_stay_below_the_peak_before_it() -> None:
    assert falls(AIME, "tokens") == [
        lambdas("0.2", "0.4"),
        lambdas("0.2", "0.5"),
        lambdas("0.4", "0.5"),
        lambdas("0.2", "0.6"),
    ]
    assert falls(AIME, "accuracy") == [lambdas("0.8", "1")]


def test_static_four_fifths_beats_thinking_with_23_percent_fewer_tokens() -> None:
    found = dominated(AIME)
    assert found[Fraction(1)] == lambdas("0.8")
    four_fifths, thinking = AIME[5], AIME[6]
    assert 1 - four_fifths.tokens / thinking.tokens == pytest.approx(0.23, abs=0.005)
    assert pareto(AIME).frontier == lambdas("0.5", "0.6", "0.8")
    assert set(found) == set(lambdas("0", "0.2", "0.4", "1"))
    assert found[Fraction(0)] == lambdas("0.5", "0.6")


def test_ifeval_dips_in_the_middle_where_its_tokens_peak() -> None:
    middle = [point for point in IFEVAL if point.lam in lambdas("0.4", "0.5")]
    assert all(point.accuracy < IFEVAL[0].accuracy for point in middle)
    assert max(IFEVAL, key=lambda point: point.tokens).lam == Fraction("0.4")
    assert falls(IFEVAL, "accuracy") == [
        lambdas("0", "0.2"),
        lambdas("0", "0.4"),
        lambdas("0.2", "0.4"),
        lambdas("0", "0.5"),
        lambdas("0.4", "0.5"),
        lambdas("0.8", "1"),
    ]
    assert {pair for pair in falls(IFEVAL, "tokens") if pair[0] == Fraction("0.4")} == {
        lambdas("0.4", "0.5"),
        lambdas("0.4", "0.6"),
        lambdas("0.4", "0.8"),
        lambdas("0.4", "1"),
    }
    assert set(dominated(IFEVAL)) == set(lambdas("0.2", "0.4", "0.5", "1"))


def test_gpqa_is_saturated_from_six_tenths() -> None:
    assert dominated(GPQA) == {Fraction("0.6"): lambdas("0.8"), Fraction(1): lambdas("0.8")}
    assert falls(GPQA, "accuracy") == [lambdas("0.8", "1")]
    assert falls(GPQA, "tokens") == [lambdas("0.6", "0.8")]


def test_the_hull_and_the_lambdas_worth_serving_are_those_of_the_table() -> None:
    assert pareto(AIME).hull == lambdas("0.5", "0.6", "0.8")
    assert serving_grid(AIME).lambdas == lambdas("0.5", "0.6", "0.8")
    assert serving_grid(IFEVAL).lambdas == lambdas("0", "0.6")
    assert serving_grid(IFEVAL).loss == pytest.approx(0.01)  # 0.8 is one point better, and no more
    assert serving_grid(GPQA).lambdas == lambdas("0", "0.2", "0.4", "0.5", "0.8")


def test_blocks_switch_while_accuracy_is_graded_so_lambda_is_a_dial() -> None:
    found = conclude(published(AIME, questions=30))
    assert (found.kind, found.confidence) == ("dial", None)
    assert found.better == lambdas("0.4", "0.5", "0.6", "0.8")
    blocks, tokens, accuracy = found.changes
    assert (blocks.quantity, blocks.form) == ("closed", "abrupt")
    assert (blocks.start, blocks.stop) == lambdas("0.4", "0.6")
    assert blocks.share == pytest.approx(0.986)
    assert (tokens.quantity, tokens.form) == ("tokens", "gradual")
    assert (accuracy.quantity, accuracy.form) == ("accuracy", "gradual")
    assert accuracy.share == pytest.approx((71.0 - 55.8) / (80.5 - 46.6))


def test_four_fifths_is_as_accurate_as_thinking_with_23_percent_fewer_tokens() -> None:
    found = conclude(published(AIME, questions=30)).rival
    assert found is not None
    assert (found.difference.stop, found.equal) == (Fraction(4, 5), True)
    assert verdict(compare_lambdas(published(AIME, questions=30))) == (
        "λ is a dial here: λ = 0.40, 0.50, 0.60, 0.80 are more accurate than sending a share of the queries"
        " to λ = 0.00 and the rest to λ = 1.00 for the same tokens.",
        "The most is gained at λ = 0.60: +24.4 points over that mixture.",
        "For a budget of mean tokens, serve λ = 0.50 from 11,189 (62.5%), λ = 0.60 from 12,681 (71.0%),"
        " λ = 0.80 from 17,574 (80.5%).",
        "99% of the change in the share of answers with a closed thinking block is between λ = 0.40 and"
        " λ = 0.60, while accuracy changes gradually.",
        "λ = 0.80 is as accurate as Thinking, within 3 points, with 23% fewer tokens: +0.1 points.",
    )


def test_the_dip_of_ifeval_is_no_switch() -> None:
    """Blocks appear where accuracy recovers, but what is before is not as Instruct: it is far below."""
    blocks = {point.lam: point.closed for point in AIME}
    points = [Point(each.lam, each.accuracy, each.tokens, blocks[each.lam]) for each in IFEVAL]
    found = conclude(published(points, questions=541))
    assert (found.kind, found.better) == ("dial", lambdas("0.6", "0.8"))
    assert {change.quantity: change.form for change in found.changes} == {
        "closed": "abrupt", "tokens": "there and back", "accuracy": "there and back"
    }  # fmt: skip
    said = verdict(compare_lambdas(published(points, questions=541)))
    assert "Accuracy goes there and back: at λ = 0.50 it is 68.8%, below both ends (83.5% and 86.6%)." in said
