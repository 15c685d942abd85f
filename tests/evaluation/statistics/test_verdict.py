"""The sentences of a conclusion: each kind, and true of the numbers."""

from collections.abc import Sequence

import pytest

from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.statistics.conclusion import ConclusionKind
from dami_merge.evaluation.statistics.summary import Comparison, summarise
from dami_merge.evaluation.statistics.verdict import HEADLINES, verdict
from dami_merge.evaluation.statistics.wording import points, resampled, share_of_resamples, token_count
from tests.evaluation.simulated import rollout
from tests.evaluation.statistics.test_changes import REAL, REAL_ACCURACY
from tests.evaluation.statistics.test_conclusion import REAL_BLOCKS, REAL_TOKENS, bundled, simulated


def compared(rows: Sequence[Rollout]) -> Comparison:
    found = summarise(rows, seed=0).overall.comparison
    assert found is not None
    return found


def said(rows: Sequence[Rollout]) -> tuple[str, ...]:
    return verdict(compared(rows))


def cells(*rows: tuple[str, int, int], questions: int = 20) -> list[Rollout]:
    """One answer of every question: λ, how many are right, tokens of each."""
    return [
        rollout(f"q{n}", lam, correct=n < right, tokens=tokens)
        for lam, right, tokens in rows
        for n in range(questions)
    ]


def test_a_switch_says_up_to_where_each_side_goes_and_that_the_ends_suffice() -> None:
    rows = simulated(REAL, REAL_ACCURACY, REAL_TOKENS, REAL_BLOCKS, questions=200, samples=4)
    first, between, mixing, *_ = said(rows)
    assert first.startswith(
        "λ is a switch here: up to λ = 0.70 the model answers much as Instruct, from λ = 0.80 on much as"
        " Thinking (in "
    )
    assert "100% of the change in the share of answers with a thinking block, " in between
    assert between.endswith("% of the change in accuracy.")
    assert "closed" not in between
    assert (
        "a share of the queries to λ = 0.00 and the rest to λ = 1.00 buys as much as any λ between" in mixing
    )
    assert "as far as 200 questions can tell; the interval of λ = " in mixing
    serving = compared(rows).serving
    assert serving is not None
    assert not any(0.7 < lam < 0.8 for lam in serving.lambdas)


def test_the_hull_is_named_where_it_is_the_two_ends() -> None:
    rows = [
        rollout(f"q{n}", lam, correct=n < right, tokens=tokens, thinking="closed" if right > 9 else "none")
        for lam, right, tokens in (
            ("0", 4, 10),
            ("1/4", 3, 11),
            ("1/2", 2, 12),
            ("3/4", 29, 41),
            ("1", 30, 40),
        )
        for n in range(40)
    ]
    _, _, mixing, *_ = said(rows)
    assert mixing.startswith(
        "The hull is the two ends, so sending a share of the queries to λ = 0.00 and the"
    )


def test_a_switch_with_a_lambda_that_beats_mixing_names_it() -> None:
    rows = [
        rollout(f"q{n}", lam, correct=n < right, tokens=tokens, thinking="closed" if right > 9 else "none")
        for lam, right, tokens in (
            ("0", 4, 10),
            ("1/4", 4, 10),
            ("1/2", 4, 10),
            ("3/4", 30, 20),
            ("1", 30, 40),
        )
        for n in range(40)
    ]
    _, _, mixing, *_ = said(rows)
    assert mixing.startswith(
        "Still, λ = 0.75 is more accurate than sending a share of the queries to λ = 0.00"
    )


def test_a_dial_names_its_lambdas_its_best_and_the_budgets() -> None:
    rows = simulated(*bundled("sampled", (0, 0.2, 0.4, 0.6, 0.8, 1)), questions=1000)
    first, best, budgets, *_ = said(rows)
    assert first.startswith("λ is a dial here: ")
    assert (
        " more accurate than sending a share of the queries to λ = 0.00 and the rest to λ = 1.00 for the"
        in first
    )
    assert best.startswith("The most is gained at λ = 0.")
    assert "(95% interval +" in best
    assert budgets.startswith("For a budget of mean tokens, serve λ = 0.00 from 2.4 (")
    assert budgets.count("λ = ") == len(compared(rows).serving.lambdas)  # type: ignore[union-attr]


def test_a_dial_of_three_lambdas_says_where_nothing_was_measured() -> None:
    told = said(cells(("0", 2, 5), ("1/2", 18, 10), ("1", 20, 100)))
    assert told[0].startswith("λ is a dial here: λ = 0.50 is more accurate than")
    assert (
        "89% of the change in accuracy is between λ = 0.00 and λ = 0.50: only λ in between can tell"
        in told[3]
    )


def test_twenty_questions_that_may_have_lost_thirty_points_are_too_few_to_replace_thinking() -> None:
    told = said(cells(("0", 6, 2), ("1/2", 17, 20), ("1", 20, 32)))
    (replaces,) = (sentence for sentence in told if "Thinking" in sentence)
    assert replaces.startswith(
        "Whether λ = 0.50, which uses 38% fewer tokens, is as accurate as Thinking cannot be told from 20"
        " questions: -15.0 points (95% interval -30.0 to +0.0); about "
    )
    assert replaces.endswith(" questions would narrow this to ±3 points.")


@pytest.mark.parametrize(
    ("right", "words"),
    [(150, "is as accurate as Thinking, within 3 points,"), (190, "is more accurate than Thinking")],
)
def test_a_lambda_that_is_shown_to_replace_thinking_is_said_to(right: int, words: str) -> None:
    told = said(cells(("0", 20, 2), ("1/2", right, 60), ("1", 150, 100), questions=200))
    (replaces,) = (sentence for sentence in told if "Thinking" in sentence)
    assert replaces.startswith(f"λ = 0.50 {words} with 40% fewer tokens: +")


@pytest.mark.parametrize(
    ("questions", "why"), [(1, "one question says nothing about others"), (9, "there are only 9")]
)
def test_too_few_questions_for_anything_say_why(questions: int, why: str) -> None:
    assert said(cells(("0", 0, 2), ("1", 9, 9), questions=questions)) == (
        f"Too few questions to conclude anything: {why}. Intervals and confidences are given from 10"
        " questions on; of fewer, they would claim far more than is known.",
    )


def test_too_few_questions_for_a_difference_say_how_many_it_takes() -> None:
    (only,) = said(cells(("0", 9, 10), ("1/2", 10, 10), ("1", 11, 10)))
    assert only.startswith(
        "Too few questions to tell whether λ changes accuracy: no λ is clearly more accurate than another on"
        " 20 questions; about "
    )
    first, *_ = said(cells(("0", 2, 10), ("1/2", 11, 30), ("1", 18, 50)))
    assert first.startswith(
        "Too few questions to tell whether any λ between the ends is better than sending a share of the"
        " queries to λ = 0.00 and the rest to λ = 1.00 for the same tokens: the best on 20 questions is"
        " λ = 0.50, +"
    )
    assert first.endswith(" questions would narrow this to ±3 points.")


def test_a_suspected_switch_is_told_with_its_share() -> None:
    rows = [
        rollout(f"q{n}", lam, correct=n < right, tokens=100, thinking="closed" if right > 9 else "none")
        for lam, right in (("0", 4), ("1/4", 5), ("1/2", 5), ("3/4", 11), ("1", 12))
        for n in range(20)
    ]
    told = said(rows)
    assert told[-1].startswith(
        "λ may be a switch: accuracy and the behaviour of the model change at one place in "
    )
    assert told[-1].endswith("% of resamples, and 95% would be needed to say so.")


@pytest.mark.parametrize(
    ("rows", "kind", "first"),
    [
        (cells(("0", 0, 2), ("1/2", 0, 3), ("1", 0, 9)), "none correct", "No answer is correct at any λ"),
        (cells(("0", 2, 2), ("1", 18, 9)), "only ends", "Only λ = 0.00 and λ = 1.00 were measured"),
        (
            cells(("0", 100, 9), ("1/2", 100, 5), ("1", 100, 7), questions=200),
            "constant",
            "Accuracy does not depend on λ here, within 3 points (in 100% of resamples): serve the λ with the"
            " fewest tokens, λ = 0.50.",
        ),
        (
            cells(("0", 40, 10), ("1/2", 40, 20), ("1", 160, 30), questions=200),
            "mixture",
            "No λ between the ends is better than mixing them: sending a share of the queries to λ = 0.00 and"
            " the rest to λ = 1.00 is as accurate for the same tokens, within 3 points (in 100% of"
            " resamples).",
        ),
    ],
)  # fmt: skip
def test_the_other_kinds_have_sentences_of_their_own(
    rows: list[Rollout], kind: ConclusionKind, first: str
) -> None:
    found = compared(rows)
    assert found.conclusion is not None
    assert found.conclusion.kind == kind
    assert verdict(found)[0].startswith(first)
    assert HEADLINES[kind]


def test_a_single_lambda_has_no_conclusion() -> None:
    assert compared(cells(("1/3", 4, 5))).conclusion is None
    assert said(cells(("1/3", 4, 5))) == ()


def test_numbers_are_written_as_far_as_they_are_known() -> None:
    assert [share_of_resamples(share) for share in (1, 0.9995, 0.994, 0.5)] == [
        "100%", "more than 99%", "99%", "50%"
    ]  # fmt: skip
    assert (resampled(None), resampled(0.97)) == ("", " (in 97% of resamples)")
    assert points(-0.05, None) == "-5.0 points"
    assert [token_count(count) for count in (0.5, 99.9, 100.4, 12345)] == ["0.5", "99.9", "100", "12,345"]


def test_a_dial_of_which_every_lambda_between_gains_says_all() -> None:
    first, best, budgets, *_ = said(
        cells(("0", 2, 10), ("1/3", 90, 20), ("2/3", 96, 30), ("1", 100, 200), questions=100)
    )
    assert first.startswith(
        "λ is a dial here: all 2 λ between the ends are more accurate than sending a share"
    )
    assert best.startswith("The most is gained at λ = 2of3: +83.7 points (95% interval +")
    assert budgets.startswith(
        "For a budget of mean tokens, serve λ = 0.00 from 10.0 (2.0%), λ = 1of3 from 20.0 (90"
    )


def test_a_dial_with_one_lambda_worth_serving_has_no_budgets() -> None:
    told = said(cells(("0", 2, 60), ("1/2", 20, 10), ("1", 12, 100)))
    assert told[0].startswith("λ is a dial here: λ = 0.50 is more accurate than")
    assert not any(sentence.startswith("For a budget") for sentence in told)
    assert told[-1].startswith(
        "λ = 0.50 is more accurate than Thinking with 90% fewer tokens: +40.0 points (95%"
    )


def test_a_dial_whose_accuracy_rises_early_says_where() -> None:
    """As a measured pair at temperature 0: steep up to λ = 0.2, while its answers grow all along."""
    lambdas = [f"{n / 10}" for n in range(11)]
    accuracy = [0.362, 0.648, 0.877, 0.953, 0.969, 0.986, 0.995, 0.999, 0.999, 0.999, 0.999]
    tokens = [2.1, 12.5, 19.4, 22.7, 23.2, 25.7, 27.3, 29.7, 32.0, 34.8, 35.8]
    thinks = [0.002, 0.325, 0.570, 0.658, 0.679, 0.705, 0.752, 0.838, 0.934, 0.989, 0.998]
    rows = simulated(lambdas, accuracy, tokens, thinks, questions=1000)
    told = said(rows)
    assert told[0].startswith("λ is a dial here")
    assert any(
        "% of the change in accuracy is between λ = 0.00 and λ = 0.20 (in " in sentence for sentence in told
    )


def test_a_switch_between_two_of_three_lambdas_has_one_between() -> None:
    rows = [
        rollout(f"q{n}", lam, correct=n < right, tokens=tokens, thinking="closed" if right > 9 else "none")
        for lam, right, tokens in (("0", 2, 10), ("9/10", 2, 10), ("1", 30, 40))
        for n in range(40)
    ]
    told = said(rows)
    assert told[0].startswith(
        "λ is a switch here: up to λ = 0.90 the model answers much as Instruct, from λ = 1.00 on"
    )
    assert told[2].startswith(
        "The hull is the two ends, so sending a share of the queries to λ = 0.00 and the rest"
    )


def test_a_path_without_its_ends_names_the_lambdas_it_has() -> None:
    rows = [
        rollout(f"q{n}", lam, correct=n < right, tokens=tokens, thinking="closed" if right > 9 else "none")
        for lam, right, tokens in (("1/10", 2, 10), ("1/2", 2, 10), ("6/10", 30, 40), ("9/10", 30, 40))
        for n in range(40)
    ]
    told = said(rows)
    assert "answers much as λ = 0.10, from λ = 0.60 on much as λ = 0.90 (in" in told[0]
    assert not any("Thinking " in sentence for sentence in told)
