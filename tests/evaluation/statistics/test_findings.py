"""The sentences of a sweep: true of the numbers, whatever the numbers are."""

from collections.abc import Mapping
from fractions import Fraction
from random import Random

import pytest

from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.statistics.bootstrap import published
from dami_merge.evaluation.statistics.findings import findings
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.summary import Section, compare_lambdas, summarise
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
    comparison = compare_lambdas(published(points, questions=30), loss=loss)
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
        "Worth serving: λ = 0.00, 1.00. These are all λ: leaving one out costs more than 1 point of accuracy"
        " at some token budget.",
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


def test_answers_without_a_token_anywhere_are_told() -> None:
    said = _of_answers(_answers({"0": (3, 0), "1": (9, 0)}))
    assert said[0].endswith("accuracy goes from 15.0% to 45.0%, and mean tokens go from 0.0 to 0.0.")
    assert "Dominated (another λ is at least as accurate and uses no more tokens): 0.00 by 1.00." in said


def test_where_every_answer_is_wrong_no_lambda_is_recommended() -> None:
    said = _of_answers(_answers({"0": (0, 5), "1/2": (0, 9), "1": (0, 50)}))
    assert said == (
        "From λ = 0.00 to λ = 1.00, accuracy goes from 0.0% to 0.0%, and mean tokens go from 5.0 to 50.0, a"
        " factor of 10.",
    )


def test_a_sure_fall_is_told_with_its_share_of_resamples_and_an_unsure_one_is_counted() -> None:
    sure = _of_answers(_answers({"0": (18, 10), "1": (4, 20)}))
    assert (
        "Accuracy falls by 70.0 points from λ = 0.00 to λ = 1.00 (in 100% of resamples): the path is not"
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


def test_what_is_worth_serving_is_told_with_how_sure_it_is_and_noise_is_left_out_by_name() -> None:
    said = _of_answers(_answers({"0": (4, 5), "1/2": (17, 60), "1": (18, 100)}))
    (worth,) = (sentence for sentence in said if sentence.startswith("Worth serving"))
    assert worth.startswith(
        "Worth serving: λ = 0.00, 0.50, each on the frontier in 100% of resamples. At every"
    )
    assert "of all 3 λ, unless the difference may be noise. λ = 1.00 (more accurate than 0.50 in 6" in worth
    assert worth.endswith("% of resamples) was left out: 20 questions cannot tell whether that helps.")


def test_the_least_sure_member_is_named() -> None:
    said = _of_answers(_answers({"0": (10, 20), "1/2": (33, 40), "1": (38, 60)}, 40))
    (worth,) = (sentence for sentence in said if sentence.startswith("Worth serving"))
    # that none of the five that only λ = 1 answers is drawn has a chance of (35/40)^40 = 0.48%
    assert worth.startswith("Worth serving: λ = 0.00, 0.50, 1.00, each on the frontier in more than 99% of")
    said = _of_answers(_answers({"0": (10, 20), "1/2": (32, 40), "1": (36, 60)}, 40), loss=0.1)
    (worth,) = (sentence for sentence in said if sentence.startswith("Worth serving"))
    assert worth.startswith("Worth serving: λ = 0.00, 0.50, each on the frontier in 100% of resamples")
    said = _of_answers(_answers({"0": (10, 20), "1/2": (32, 40), "1": (36, 60)}, 40))
    (worth,) = (sentence for sentence in said if sentence.startswith("Worth serving"))
    # four that only λ = 1 answers: (36/40)^40 = 1.5%
    assert "each on the frontier in at least 98% of resamples (the least sure is 1.00)" in worth


@pytest.mark.parametrize("questions", [1, 9])
def test_of_too_few_questions_nothing_is_recommended_and_no_fall_is_known(questions: int) -> None:
    said = _of_answers(_answers({"0": (9, 30), "1/2": (0, 20), "1": (0, 40)}, questions))
    assert said[1:] == (
        "No λ is recommended for serving: with fewer than 10 questions, the next question may change the"
        " order.",
    )


@pytest.mark.parametrize("seed", range(30))
def test_other_falls_are_only_told_after_a_first(seed: int) -> None:
    random = Random(seed)
    cells = {lam: (random.randint(0, 20), random.randint(1, 40)) for lam in ("0", "1/3", "2/3", "1")}
    falls = [
        sentence
        for sentence in _of_answers(_answers(cells))
        if "not monotone" in sentence or "noise:" in sentence
    ]
    assert [place for place, sentence in enumerate(falls) if " other fall" in sentence] in (
        [],
        [len(falls) - 1],
    )
    if falls and " other fall" in falls[-1]:
        assert len(falls) > 1
