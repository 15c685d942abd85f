"""Which questions are shown side by side, and with which answers."""

import random

import pytest

from dami_merge.evaluation.rollout import Rollout
from dami_merge.report.examples import examples
from tests.evaluation.simulated import rollout

LAMBDAS = ("0", "1/3", "2/3", "1")
GAINED, MIDDLE, LOST = (
    "wrong at first, correct from some λ on",
    "correct only in the middle",
    "correct at first, wrong at the end",
)
EVERYWHERE, NOWHERE = "correct at every λ", "wrong at every λ"


def _question(name: str, marks: str, lambdas: tuple[str, ...] = LAMBDAS) -> list[Rollout]:
    """`+` is right, `-` wrong, a blank not asked; ascending in λ."""
    return [
        rollout(name, lam, correct=mark == "+")
        for lam, mark in zip(lambdas, marks, strict=True)
        if mark != " "
    ]


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        ("-+++", GAINED),
        ("---+", GAINED),
        ("-++-", MIDDLE),
        ("--+-", MIDDLE),
        ("+++-", LOST),
        ("+-+-", LOST),
        ("++++", EVERYWHERE),
        ("----", NOWHERE),
    ],
)
def test_a_question_is_shown_for_what_lambda_does_to_it(marks: str, reason: str) -> None:
    (found,) = examples(_question("q", marks))
    assert (found.question, found.reason) == ("q", reason)
    assert "".join("-+"[row.correct] for row in found.answers) == marks


@pytest.mark.parametrize("marks", ["-+-+", "+--+", "+-++"])
def test_a_question_that_goes_to_and_fro_is_of_no_kind(marks: str) -> None:
    assert examples(_question("q", marks)) == ()


def test_kinds_stand_in_their_order_and_the_first_of_the_file_is_taken() -> None:
    rows = [
        *_question("nowhere", "----"),
        *_question("lost", "++--"),
        *_question("gained", "--++"),
        *_question("gained later in the file", "-+++"),
        *_question("everywhere", "++++"),
        *_question("middle", "-+--"),
    ]
    assert [each.question for each in examples(rows)] == ["gained", "middle", "lost", "everywhere", "nowhere"]
    assert [each.question for each in examples(rows, each=2)][:2] == ["gained", "gained later in the file"]


def test_answers_ascend_in_lambda_and_are_the_first_samples_in_whatever_order_they_came() -> None:
    rows = [
        rollout("q", lam, sample, correct=sample == 1, tokens=100 * place + sample)
        for place, lam in enumerate(LAMBDAS)
        for sample in (1, 2, 3)
    ]
    random.Random(0).shuffle(rows)
    (found,) = examples(rows)
    assert [row.tokens for row in found.answers] == [1, 101, 201, 301]
    assert found.reason == EVERYWHERE


def test_a_question_that_misses_a_lambda_is_not_shown() -> None:
    rows = [*_question("unfinished", "--+ "), *_question("whole", "--++")]
    assert [each.question for each in examples(rows)] == ["whole"]


def test_only_the_questions_asked_for_are_chosen_and_the_next_of_the_kind_steps_in() -> None:
    rows = [*_question("unknown", "--++"), *_question("known", "-+++")]
    assert [each.question for each in examples(rows, among={"known", "other"})] == ["known"]


def test_at_one_lambda_a_question_is_right_or_wrong_and_nothing_else() -> None:
    rows = [*_question("a", "+", ("1/2",)), *_question("b", "-", ("1/2",))]
    assert [(each.question, each.reason) for each in examples(rows)] == [("a", EVERYWHERE), ("b", NOWHERE)]


def test_without_rollouts_there_is_nothing_to_show() -> None:
    assert examples([]) == ()
