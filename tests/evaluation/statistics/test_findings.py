"""The sentences of a sweep: true of the numbers, whatever the numbers are."""

from collections.abc import Mapping
from fractions import Fraction

import pytest

from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.statistics.findings import findings
from dami_merge.evaluation.statistics.monotone import violations
from dami_merge.evaluation.statistics.pareto import pareto
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.serving_grid import serving_grid
from dami_merge.evaluation.statistics.stages import stages
from dami_merge.evaluation.statistics.summary import Comparison, Section, summarise
from tests.evaluation.simulated import rollout

PUBLISHED = (
    ("0", 0.466, 15097, 0.0),
    ("1/5", 0.522, 16794, 0.0),
    ("2/5", 0.558, 12448, 0.014),
    ("1/2", 0.625, 11189, 0.596),
    ("3/5", 0.710, 12681, 1.0),
    ("4/5", 0.805, 17574, 0.999),
    ("1", 0.804, 22813, 0.999),
)
"""Qwen3-4B-2507 on AIME 2025: λ, accuracy, tokens, closed blocks (arXiv 2510.10977)."""


def _of_points(rows: tuple[tuple[str, float, float, float], ...], loss: float = 0.01) -> tuple[str, ...]:
    """The sentences of published points, which have no resamples."""
    points = [Point(Fraction(lam), *numbers) for lam, *numbers in rows]
    comparison = Comparison(
        questions=30,
        points=tuple(points),
        neighbours=(),
        against_instruct=(),
        against_thinking=(),
        violations=violations(points),
        pareto=pareto(points),
        stages=stages(points),
        serving=serving_grid(points, loss=loss),
    )
    return findings(Section(group=None, questions=30, rows=(), comparison=comparison))


def _answers(
    cells: Mapping[str, tuple[int, int]], questions: int = 20, *, thinking: Mapping[str, int] | None = None
) -> list[Rollout]:
    """One answer of every question at each λ: (how many are right, tokens of each)."""
    return [
        rollout(
            f"q{number:02}",
            lam,
            correct=number < right,
            tokens=tokens,
            thinking="closed" if thinking is None or number < thinking[lam] else "none",
        )
        for lam, (right, tokens) in cells.items()
        for number in range(questions)
    ]


def _of_answers(rollouts: list[Rollout], *, loss: float = 0.01) -> tuple[str, ...]:
    return findings(summarise(rollouts, seed=0, resamples=400, loss=loss).overall)


def test_a_published_path_is_told_in_the_order_of_weight() -> None:
    assert _of_points(PUBLISHED) == (
        "From λ = 0.00 to λ = 1.00, accuracy goes from 46.6% to 80.4%, and mean tokens go from 15,097 to"
        " 22,813, a factor of 1.51.",
        "Dominated (another λ is at least as accurate and uses no more tokens): 0.00 by 0.50, 0.60; 0.20 by"
        " 0.50, 0.60; 0.40 by 0.50; 1.00 by 0.80.",
        "Worth serving: λ = 0.50, 0.60, 0.80. At every token budget, the most accurate of these is within 1"
        " point of the most accurate of all 7 λ.",
        "Accuracy falls by 0.1 points from λ = 0.80 to λ = 1.00: the path is not monotone there.",
        "Mean tokens fall by 4,346 from λ = 0.20 to λ = 0.40: the path is not monotone there.",
        "Mean tokens fall by 5,605 from λ = 0.20 to λ = 0.50: the path is not monotone there.",
        "Mean tokens fall by 1,259 from λ = 0.40 to λ = 0.50: the path is not monotone there.",
        "Mean tokens fall by 4,113 from λ = 0.20 to λ = 0.60: the path is not monotone there.",
        "Thinking blocks appear between λ = 0.40 and λ = 0.60: the share of answers with a closed block goes"
        " from 1.4% to 100.0%.",
    )


def test_of_two_that_are_equal_the_smaller_lambda_is_kept_and_the_other_is_said_to_be_dominated() -> None:
    said = _of_points((("0", 0.5, 10, 0), ("1/3", 0.5, 10, 0), ("1", 0.9, 20, 0)))
    assert "Dominated (another λ is at least as accurate and uses no more tokens): 1of3 by 0.00." in said


def test_a_path_on_which_nothing_is_dominated_says_so() -> None:
    said = _of_points((("0", 0.5, 10, 0), ("1", 0.9, 20, 0)))
    assert said[1:] == (
        "Every λ is on the Pareto frontier: a more accurate λ always uses more tokens.",
        "Worth serving: all λ. Leaving one out costs more than 1 point of accuracy at some token budget.",
    )


@pytest.mark.parametrize(
    ("loss", "words"), [(0.0, "0 points"), (0.01, "1 point"), (0.015, "1.5 points"), (0.07, "7 points")]
)
def test_the_allowed_loss_is_told_in_points(loss: float, words: str) -> None:
    said = _of_points((("0", 0.5, 10, 0), ("1/2", 0.5, 20, 0), ("1", 0.9, 30, 0)), loss)
    assert said[2].startswith("Worth serving: λ = 0.00, 1.00. At every token budget, the most accurate of")
    assert f" is within {words} of the most accurate" in said[2]


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ((0, 5), "mean tokens go from 0.0 to 5.0."),
        ((0.5, 99.96), "mean tokens go from 0.5 to 100.0, a factor of 200."),
        ((100, 250_000), "mean tokens go from 100 to 250,000, a factor of 2,500."),
        ((10, 5), "mean tokens go from 10.0 to 5.0, a factor of 0.5."),
    ],
)
def test_tokens_are_told_as_people_write_them_and_none_has_no_ratio(
    tokens: tuple[float, float], words: str
) -> None:
    said = _of_points((("0", 0.5, tokens[0], 0), ("1", 0.9, tokens[1], 0)))
    assert said[0].endswith(words)


def test_a_cheaper_lambda_that_is_as_accurate_as_thinking_is_told_with_its_interval() -> None:
    cells = {"0": (4, 5), "1/2": (18, 60), "3/4": (18, 70), "1": (18, 100)}
    assert _of_answers(_answers(cells))[1] == (
        "λ = 0.50 uses 40% fewer tokens than Thinking without a clear loss of accuracy: +0.0 points (95%"
        " interval +0.0 to +0.0)."
    )


def test_one_answer_less_of_twenty_is_not_clearly_lower() -> None:
    said = _of_answers(_answers({"0": (4, 5), "1/2": (17, 60), "1": (18, 100)}))
    assert said[1].startswith("λ = 0.50 uses 40% fewer tokens than Thinking")
    assert said[1].endswith(": -5.0 points (95% interval -15.0 to +0.0).")


@pytest.mark.parametrize(
    "cells",
    [
        {"0": (2, 5), "1/2": (4, 60), "1": (18, 100)},  # cheaper, and clearly less accurate
        {"0": (18, 100), "1/2": (18, 120), "1": (18, 100)},  # as accurate, and no cheaper
        {"0": (2, 5), "1/2": (18, 60)},  # Thinking was not measured
    ],
)
def test_where_none_is_cheaper_and_as_good_as_thinking_none_is_named(
    cells: dict[str, tuple[int, int]],
) -> None:
    assert not any("than Thinking" in sentence for sentence in _of_answers(_answers(cells)))


def test_an_instruct_that_says_nothing_and_is_as_right_takes_all_of_the_tokens_less() -> None:
    said = _of_answers(_answers({"0": (9, 0), "1": (9, 50)}))
    assert said[0].endswith("and mean tokens go from 0.0 to 50.0.")
    assert said[1].startswith("λ = 0.00 uses 100% fewer tokens than Thinking")


def test_answers_without_a_token_anywhere_are_told() -> None:
    said = _of_answers(_answers({"0": (3, 0), "1": (9, 0)}))
    assert said[0].endswith("accuracy goes from 15.0% to 45.0%, and mean tokens go from 0.0 to 0.0.")
    assert "Dominated (another λ is at least as accurate and uses no more tokens): 0.00 by 1.00." in said


def test_where_every_answer_is_wrong_no_lambda_is_recommended() -> None:
    said = _of_answers(_answers({"0": (0, 5), "1/2": (0, 9), "1": (0, 50)}))
    assert said == (
        "From λ = 0.00 to λ = 1.00, accuracy goes from 0.0% to 0.0%, and mean tokens go from 5.0 to 50.0, a"
        " factor of 10.",
        "No answer is correct at any λ, so the λ cannot be ranked. Check the generated texts, the token cap"
        " and the grader.",
    )


def test_a_sure_fall_is_told_with_its_share_of_resamples_and_an_unsure_one_is_counted() -> None:
    sure = _of_answers(_answers({"0": (18, 10), "1": (4, 20)}))
    assert (
        "Accuracy falls by 70.0 points from λ = 0.00 to λ = 1.00 (in 100.0% of resamples): the path is not"
        in " ".join(sure)
    )
    one = _of_answers(_answers({"0": (10, 10), "1": (9, 20)}))
    assert "One fall in accuracy or tokens may be noise: it occurs in less than 95% of resamples." in one
    two = _of_answers(_answers({"0": (10, 10), "1/2": (9, 20), "1": (8, 30)}))
    falls = [sentence for sentence in two if "fall" in sentence]
    assert falls == ["3 falls in accuracy or tokens may be noise: each occurs in less than 95% of resamples."]
    both = _of_answers(_answers({"0": (18, 30), "1/2": (4, 20), "1": (3, 40)}))
    falls = [sentence for sentence in both if "fall" in sentence]
    assert (
        falls[-1]
        == "One other fall in accuracy or tokens may be noise: it occurs in less than 95% of resamples."
    )


@pytest.mark.parametrize(
    ("closed", "told"),
    [
        (
            (0, 10, 20),
            "Thinking blocks appear between λ = 0.00 and λ = 1.00: the share of answers with a closed block"
            " goes from 0.0% to 100.0%.",
        ),
        (
            (0, 0, 20),
            "Thinking blocks appear between λ = 0.50 and λ = 1.00: the share of answers with a closed block"
            " goes from 0.0% to 100.0%.",
        ),
        (
            (20, 10, 0),
            "Thinking blocks do not appear steadily between λ = 0.00 and λ = 1.00: the share of answers with"
            " a closed block goes from 100.0% to 0.0%.",
        ),
        ((0, 0, 0), None),
        ((20, 20, 20), None),
    ],
)
def test_the_switch_of_thinking_is_told_with_its_shares(
    closed: tuple[int, int, int], told: str | None
) -> None:
    shares = dict(zip(("0", "1/2", "1"), closed, strict=True))
    said = _of_answers(_answers(dict.fromkeys(shares, (10, 10)), thinking=shares))
    assert [sentence for sentence in said if "Thinking blocks" in sentence] == ([told] if told else [])


def test_an_unfinished_sweep_says_on_how_many_questions_it_compares() -> None:
    rows = _answers({"0": (4, 5), "1": (9, 50)})
    assert not any("unfinished" in sentence for sentence in _of_answers(rows))
    assert _of_answers(rows[:-7])[-1] == (
        "The sweep is unfinished: 13 of 20 questions have an answer at every λ, and only those are compared."
    )


def test_a_single_lambda_is_said_to_be_one() -> None:
    assert _of_answers(_answers({"1/3": (4, 5)})) == (
        "Nothing can be compared: λ = 1of3 is the only λ. Sweep at least one more.",
    )


def test_questions_that_no_two_lambdas_share_everywhere_leave_nothing_to_compare() -> None:
    rows = [rollout("a", "0"), rollout("a", "1/2"), rollout("b", "1/2"), rollout("b", "1")]
    assert _of_answers(rows) == (
        "Nothing can be compared yet: no question has an answer at every λ. Finish the sweep, or compare"
        " fewer λ.",
    )
