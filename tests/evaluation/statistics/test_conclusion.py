"""What a sweep comes to, for paths whose truth is known: dials, switches, mixtures, and too few questions."""

import json
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import dami_merge
from dami_merge.evaluation.grading.thinking import Thinking
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.statistics.bootstrap import published, resample
from dami_merge.evaluation.statistics.conclusion import Conclusion, conclude
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.rival import MARGIN
from dami_merge.evaluation.statistics.table import tabulate
from tests.evaluation.simulated import rollout
from tests.evaluation.statistics.test_changes import REAL, REAL_ACCURACY

REAL_BLOCKS = (0.0, 0.0, 0.0, 0.0, 0.4, 1.0, 1.0, 1.0)
REAL_TOKENS = (60, 60, 58, 61, 110, 170, 175, 180)


def simulated(
    lambdas: Sequence[str],
    accuracy: Sequence[float],
    tokens: Sequence[float],
    blocks: Sequence[float],
    *,
    questions: int,
    samples: int = 1,
    seed: int = 0,
) -> list[Rollout]:
    """Questions of very different difficulty, with these means over many questions."""
    generator = np.random.default_rng(seed)
    rows = []
    for q in range(questions):
        ease = generator.random()
        for lam, right, length, share in zip(lambdas, accuracy, tokens, blocks, strict=True):
            # a uniform ease is below the mean as often as the mean says; one answer in five is by chance
            for k in range(samples):
                sure = right if generator.random() < 0.2 else float(ease < right)
                thinking: Thinking = "closed" if generator.random() < share else "none"
                rows.append(
                    rollout(
                        f"q{q}",
                        lam,
                        k,
                        correct=bool(generator.random() < sure),
                        tokens=round(length * generator.uniform(0.7, 1.3)),
                        thinking=thinking,
                    )
                )
    return rows


def concluded(rows: Sequence[Rollout], *, resamples: int = 1000) -> Conclusion:
    return conclude(resample(tabulate(rows), seed=0, resamples=resamples))


def bundled(
    decoding: str, lambdas: Sequence[float]
) -> tuple[list[str], list[float], list[float], list[float]]:
    """The measured path of the bundled pair: λ, accuracy, tokens, share of thinking blocks."""
    table = json.loads((Path(dami_merge.__file__).parent / "data/tiny/lambda_table.json").read_text())
    rows = [row for row in table["rows"] if row["lambda"] in lambdas]
    assert len(rows) == len(lambdas)
    accuracy, tokens, thinks = (
        [row[decoding][name] for row in rows] for name in ("accuracy", "tokens", "thinks")
    )
    return [str(row["lambda"]) for row in rows], accuracy, tokens, thinks


@pytest.mark.parametrize(("questions", "samples"), [(48, 4), (200, 1)])
def test_a_real_pair_that_switches_is_called_a_switch_and_nothing_between_is_better_than_mixing(
    questions: int, samples: int
) -> None:
    rows = simulated(
        REAL, REAL_ACCURACY, REAL_TOKENS, REAL_BLOCKS, questions=questions, samples=samples
    )  # fmt: skip
    found = concluded(rows)
    assert found.kind == "switch"
    assert (found.start, found.stop) == (Fraction(7, 10), Fraction(4, 5))
    assert found.confidence is not None
    assert found.confidence >= 0.95
    assert found.better == ()
    assert {each.quantity for each in found.changes if each.form == "abrupt"} == {
        "opened", "closed", "tokens", "accuracy"
    }  # fmt: skip


@pytest.mark.parametrize("decoding", ["greedy", "sampled"])
@pytest.mark.parametrize(
    "lambdas", [(0, 0.5, 1), (0, 0.2, 0.4, 0.6, 0.8, 1), tuple(n / 10 for n in range(11))]
)
def test_the_bundled_pair_is_a_dial(decoding: str, lambdas: Sequence[float]) -> None:
    found = concluded(simulated(*bundled(decoding, lambdas), questions=1000))
    assert found.kind == "dial"
    assert found.better
    assert found.confidence is not None
    assert found.confidence >= 0.975
    assert (found.start, found.suspected) == (None, None)


def test_a_straight_path_is_no_better_than_mixing_the_ends() -> None:
    lambdas = ("0", "1/4", "1/2", "3/4", "1")
    straight = [0.2 + 0.6 * n / 4 for n in range(5)]
    tokens = [100 + 400 * n / 4 for n in range(5)]
    found = concluded(simulated(lambdas, straight, tokens, [n / 4 for n in range(5)], questions=4000))
    assert (found.kind, found.better) == ("mixture", ())
    assert all(gain.interval is not None and gain.interval.high <= MARGIN for gain in found.gains)
    few = concluded(simulated(lambdas, straight, tokens, [n / 4 for n in range(5)], questions=100))
    assert (few.kind, few.better) == ("too few questions", ())
    assert few.needed is not None
    assert 300 < few.needed < 4000


@pytest.mark.slow
@pytest.mark.parametrize("questions", [24, 100])
def test_a_straight_path_is_seldom_taken_for_a_dial_or_a_switch(questions: int) -> None:
    """A dial by mistake in at most 2.5%, for both reasons together; of 150, more than 10 happen in 0.2%."""
    lambdas = tuple(str(Fraction(n, 8)) for n in range(9))
    path = [n / 8 for n in range(9)]
    kinds = Counter(
        concluded(
            simulated(
                lambdas,
                [0.2 + 0.6 * p for p in path],
                [100 + 400 * p for p in path],
                path,
                questions=questions,
                seed=seed,
            ),
            resamples=400,
        ).kind
        for seed in range(150)
    )
    assert kinds["dial"] + kinds["switch"] <= 10, kinds


@pytest.mark.slow
def test_a_switch_is_found_in_most_sweeps_and_never_called_a_dial() -> None:
    kinds = Counter(
        concluded(
            simulated(REAL, REAL_ACCURACY, REAL_TOKENS, REAL_BLOCKS, questions=100, seed=seed), resamples=400
        ).kind
        for seed in range(100)
    )
    assert kinds["switch"] >= 75
    assert kinds["dial"] == 0


def test_equal_accuracy_everywhere_is_constant_with_enough_questions_and_unknown_with_few() -> None:
    lambdas, cells = ("0", "1/2", "1"), ((0.6, 0.6, 0.6), (50, 100, 200), (0, 0.5, 1))
    rows = [
        rollout(f"q{n}", lam, correct=n % 5 < 3, tokens=tokens)
        for lam, tokens in zip(lambdas, cells[1], strict=True)
        for n in range(200)
    ]
    found = concluded(rows)
    assert (found.kind, found.confidence) == ("constant", 1)
    assert found.rival is not None
    assert (found.rival.difference.stop, found.rival.equal) == (Fraction(0), True)
    few = concluded([row for row in rows if int(row.question[1:]) < 100])
    assert (few.kind, few.needed) == ("too few questions", 130)
    noisy = concluded(simulated(lambdas, *cells, questions=100))
    assert noisy.kind == "too few questions"
    assert noisy.needed is not None
    assert noisy.needed > 130


def test_nine_questions_conclude_nothing_and_ten_may() -> None:
    rows = [
        rollout(f"q{n}", lam, correct=lam != "0", tokens=tokens)
        for lam, tokens in (("0", 10), ("1/2", 20), ("1", 100))
        for n in range(10)
    ]
    assert concluded(rows).kind == "dial"
    few = concluded([row for row in rows if row.question != "q9"])
    assert few == Conclusion(kind="too few questions", confidence=None)


def test_without_a_correct_answer_or_without_a_lambda_between_that_is_the_conclusion() -> None:
    wrong = [rollout(f"q{n}", lam, correct=False) for n in range(12) for lam in ("0", "1/2", "1")]
    assert concluded(wrong).kind == "none correct"
    ends = [rollout(f"q{n}", lam, correct=lam == "1") for n in range(12) for lam in ("0", "1")]
    assert (concluded(ends).kind, concluded(ends).gains) == ("only ends", ())


def test_a_switch_that_most_resamples_show_but_not_nearly_all_is_suspected() -> None:
    lambdas = ("0", "1/4", "1/2", "3/4", "1")
    blocks: tuple[Thinking, ...] = ("none", "none", "none", "closed", "closed")
    right = (4, 5, 5, 11, 12)
    rows = [
        rollout(f"q{n}", lam, correct=n < right[place], tokens=100, thinking=blocks[place])
        for n in range(20)
        for place, lam in enumerate(lambdas)
    ]
    found = concluded(rows)
    assert found.kind == "too few questions"
    assert found.suspected is not None
    assert 0.5 < found.suspected < 0.95


def test_blocks_that_switch_where_accuracy_does_not_are_no_switch() -> None:
    """As in Qwen3-4B-2507: blocks appear within one step, accuracy rises all along."""
    lambdas = [str(Fraction(n, 8)) for n in range(9)]
    accuracy = [0.4, 0.5, 0.59, 0.66, 0.72, 0.78, 0.82, 0.86, 0.88]
    blocks = [0.0, 0, 0, 0, 1, 1, 1, 1, 1]
    found = concluded(simulated(lambdas, accuracy, [100 + 20 * n for n in range(9)], blocks, questions=400))
    assert (found.kind, found.start) == ("dial", None)
    forms = {each.quantity: each.form for each in found.changes}
    assert (forms["opened"], forms["accuracy"]) == ("abrupt", "gradual")


def test_published_points_that_switch_are_called_a_switch_without_a_confidence() -> None:
    points = [
        Point(Fraction(lam), right, tokens, share)
        for lam, right, tokens, share in zip(REAL, REAL_ACCURACY, REAL_TOKENS, REAL_BLOCKS, strict=True)
    ]
    found = conclude(published(points))
    assert (found.kind, found.start, found.stop) == ("switch", Fraction(7, 10), Fraction(4, 5))
    assert (found.confidence, found.suspected) == (None, None)
    same = [Point(Fraction(n, 2), 0.5, 10) for n in range(3)]
    assert conclude(published(same)).kind == "constant"
    straight = [Point(Fraction(n, 2), 0.25 + n / 4, 10 + 10.0 * n) for n in range(3)]
    assert conclude(published(straight)).kind == "mixture"
