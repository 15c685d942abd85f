"""A dial or a switch, from measurements alone: no model is needed."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from dami_merge.connectivity.dial import Dial, Rise, ShortAnswers, Start, share_at, steepest
from dami_merge.connectivity.dial_advice import beginnings, dial_fact, dial_holds, dial_steps
from dami_merge.connectivity.path import PathReport
from dami_merge.lambdas import even_grid

TENTHS = even_grid(10)
GRADED = [0.03, 0.08, 0.17, 0.30, 0.44, 0.56, 0.68, 0.79, 0.88, 0.94, 0.98]
ABRUPT = [0.0, 0.0, 0.0, 0.0, 0.01, 0.01, 0.03, 0.07, 0.83, 0.95, 1.0]
"""Probability of the thinking tag between .7 and .8 of a real pair whose answers switch there."""


def measured(share: Sequence[float], *, prompts: int = 24, lambdas: Sequence[Fraction] = TENTHS) -> Dial:
    """Every prompt like the mean of all."""
    start = Start(
        number=0,
        shared="",
        instruct="4",
        thinking="<think>",
        apart=share[-1] - share[0],
        shares=tuple(share),
        greedy=tuple(each > 0.5 for each in share),
    )
    starts = tuple(replace(start, number=number) for number in range(prompts))
    return Dial(tuple(lambdas), starts, temperature=0.6)


def walked_with(dial: Dial | None) -> PathReport:
    return PathReport(1, 1, (), (), 0.0, 0.0, Fraction(0), dial)


def test_a_graded_path_is_a_dial_and_asks_for_nothing() -> None:
    dial = measured(GRADED)
    assert (dial.kind, dial_holds(dial), dial.next_lambda) == ("dial", True, None)
    assert dial_steps(walked_with(dial)) == []
    assert dial_fact(dial) == (
        "answers that begin as Thinking's do: 3% at λ = 0, 98% at λ = 1; at most 15% of this change lies"
        " between λ = 0.30 and 0.40"
    )


def test_a_switch_is_named_with_its_place_the_prompts_that_turn_there_and_what_to_do() -> None:
    dial = measured(ABRUPT)
    assert (dial.kind, dial_holds(dial)) == ("switch", False)
    assert dial_fact(dial) == (
        "answers that begin as Thinking's do: 0% at λ = 0, 100% at λ = 1; 76% of this change lies between"
        " λ = 0.70 and 0.80, where 24 of 24 prompts turn"
    )
    first, second = dial_steps(walked_with(dial))
    assert first == (
        "serve the two models themselves and route between them: λ is a switch. At λ = 0.70, 7% of the"
        " answers begin as Thinking's, at 0.80 83%, and between two neighbouring λ there is nothing to choose"
    )
    assert "sweep λ from 0.70 to 0.86: outside" in second


def test_a_switch_is_located_by_further_lambdas_until_none_holds_a_third_of_the_change() -> None:
    assert measured(ABRUPT).next_lambda == Fraction(3, 4)
    finer = [*TENTHS[:8], Fraction(3, 4), *TENTHS[8:]]
    assert measured([*ABRUPT[:8], 0.37, *ABRUPT[8:]], lambdas=finer).next_lambda == Fraction(31, 40)
    step = [Fraction(0), Fraction(29, 40), Fraction(3, 4), Fraction(1)]
    assert measured([0, 0, 1, 1], lambdas=step).next_lambda is None, "a fortieth is fine enough"


@pytest.mark.parametrize("steps", [4, 5, 10, 20])
def test_a_step_is_a_switch_and_a_straight_line_a_dial_at_any_number_of_lambdas(steps: int) -> None:
    lambdas = even_grid(steps)
    assert measured([float(lam > 0.55) for lam in lambdas], lambdas=lambdas).kind == "switch"
    assert measured([float(lam) for lam in lambdas], lambdas=lambdas).kind == "dial"


def test_a_prompt_turns_where_its_choice_becomes_thinkings_for_good() -> None:
    dial = measured(GRADED, prompts=1)
    wavering = (False, True, False, False, True, True, True, True, True, True, True)
    always = (True,) * 11
    never = (False,) * 11
    starts = tuple(replace(dial.starts[0], greedy=greedy) for greedy in (wavering, always, never))
    turned = replace(dial, starts=starts)
    assert turned.turns == (Fraction(2, 5), None, None)
    assert turned.flips == (0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    assert turned.flips_within(Rise(Fraction(3, 10), Fraction(2, 5), 0.5)) == 1
    assert turned.flips_within(Rise(Fraction(2, 5), Fraction(1, 2), 0.5)) == 0


@pytest.mark.parametrize(
    ("dial", "fact", "step"),
    [
        (
            measured([value / 5 for value in GRADED]),
            "both models begin alike: the probabilities of the next token differ by 19% only",
            "only a `sweep` can tell whether λ is a dial or a switch here, or short answers (--answers 48)",
        ),
        (
            measured(ABRUPT, prompts=7),
            "only 7 of the texts have a prompt; 8 are the fewest that tell",
            "only a `sweep` can tell whether λ is a dial or a switch here",
        ),
        (
            None,
            'give texts with a prompt, {"prompt": …}, to find out',
            "only a `sweep` can tell whether λ is a dial or a switch, or texts with prompts",
        ),
    ],
    ids=["alike", "few", "no prompts"],
)
def test_what_cannot_be_told_says_that_only_a_sweep_can(dial: Dial | None, fact: str, step: str) -> None:
    assert dial_holds(dial) is None
    assert dial_fact(dial) == fact
    assert dial_steps(walked_with(dial)) == [step]


def answered(likes: Sequence[bool | None], *, prompts: int = 8) -> Dial:
    """Models that begin alike, with short answers that are like Instruct's or Thinking's."""
    texts = tuple(f"answer {place}" for place in range(len(likes)))
    written = tuple(ShortAnswers(number, texts, tuple(likes)) for number in range(prompts))
    alike = measured([0.0] * len(likes), lambdas=even_grid(len(likes) - 1))
    return replace(alike, written=written, written_lambdas=even_grid(len(likes) - 1))


def test_short_answers_decide_where_both_models_begin_alike() -> None:
    dial = answered([False, False, False, None, None, None, None, None, True, True, True])
    assert dial.written_share == (0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0)
    assert dial.kind == "switch", "half of the change lies in a tenth, twice"
    assert dial_fact(dial) == (
        "short answers like Thinking's: 0% at λ = 0, 100% at λ = 1; 50% of this change lies between"
        " λ = 0.20 and 0.30"
    )
    assert len(dial_steps(walked_with(dial))) == 1
    mixed = [
        replace(each, like_thinking=tuple(place > number for place in range(11)))
        for number, each in enumerate(dial.written)
    ]
    assert replace(dial, written=tuple(mixed)).kind == "dial", "every prompt turns at a λ of its own"


def test_short_answers_decide_nothing_where_they_are_few_equal_or_too_far_apart() -> None:
    assert answered([False, False, True, True], prompts=7).kind == "unclear"
    equal = answered([False] * 10 + [True])
    same = tuple(replace(each, texts=("same",) * 11) for each in equal.written)
    assert replace(equal, written=same).kind == "unclear"
    coarse = answered([False, False, True, True])
    assert coarse.kind == "unclear", "a step of a third may be as smooth as you like"
    assert dial_steps(walked_with(coarse)) == ["only a `sweep` can tell whether λ is a dial or a switch here"]


def test_the_steepest_tenth_may_begin_between_two_measured_lambdas() -> None:
    lambdas = [Fraction(0), Fraction(1, 20), Fraction(3, 25), Fraction(1)]
    rise = steepest(lambdas, [0.0, 0.1, 0.8, 1.0])
    assert (rise.start, rise.stop) == (Fraction(1, 50), Fraction(3, 25))
    assert rise.part == pytest.approx(0.8 - share_at(lambdas, [0.0, 0.1, 0.8, 1.0], Fraction(1, 50)))


def test_a_path_that_never_changes_has_no_steepest_stretch() -> None:
    assert steepest(TENTHS, [0.5] * 11) == Rise(Fraction(0), Fraction(0), 0.0)


def test_where_the_change_begins_and_ends_is_told_to_a_hundredth() -> None:
    assert measured([float(lam) for lam in TENTHS]).span == (Fraction(1, 10), Fraction(9, 10))
    assert measured(ABRUPT).span == (Fraction(7, 10), Fraction(43, 50))


def test_the_most_frequent_beginning_of_each_side_is_shown() -> None:
    dial = measured(GRADED, prompts=3)
    odd = replace(dial.starts[0], instruct="7")
    assert beginnings(replace(dial, starts=(odd, *dial.starts[1:]))) == ("4", "<think>")
