"""What changes gradually, abruptly, or between λ that are too far apart to tell."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from dami_merge.evaluation.grading.thinking import Thinking
from dami_merge.evaluation.statistics.bootstrap import published, resample
from dami_merge.evaluation.statistics.changes import Change, ChangeForm, changes, distinct, overlap
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.table import tabulate
from tests.evaluation.simulated import rollout

REAL = ("0", "0.25", "0.5", "0.7", "0.75", "0.8", "0.9", "1")
"""λ of a pair of 135M that was measured, with its accuracies; its thinking blocks begin between .7 and .8."""
REAL_ACCURACY = (0.06, 0.06, 0.02, 0.01, 0.14, 0.28, 0.33, 0.32)


def of(
    lambdas: Sequence[str], accuracy: Sequence[float], closed: Sequence[float] | None = None
) -> dict[str, Change]:
    shares = [0.0] * len(lambdas) if closed is None else closed
    points = [
        Point(Fraction(lam), right, 100, share)
        for lam, right, share in zip(lambdas, accuracy, shares, strict=True)
    ]
    return {each.quantity: each for each in changes(published(points))}


def test_the_accuracy_of_a_pair_that_switches_is_abrupt_where_it_switches() -> None:
    found = of(REAL, REAL_ACCURACY, (0, 0, 0, 0, 0.4, 1, 1, 1))
    assert set(found) == {"closed", "accuracy"}
    for name, share in (("closed", 1), ("accuracy", 0.27 / 0.32)):
        each = found[name]
        assert (each.form, each.start, each.stop) == ("abrupt", Fraction(7, 10), Fraction(4, 5))
        assert each.share == pytest.approx(share)
        assert each.confidence is None


@pytest.mark.parametrize(
    ("lambdas", "accuracy", "form", "stretch"),
    [
        (("0", "0.25", "0.5", "0.75", "1"), (0.1, 0.25, 0.3, 0.4, 0.5), "gradual", ("0", "0.25")),
        (("0", "0.25", "0.5", "0.75", "1"), (0.1, 0.1, 0.1, 0.5, 0.5), "abrupt", ("0.5", "0.75")),
        (("0", "0.5", "1"), (0.1, 0.5, 0.5), "coarse", ("0", "0.5")),
        (("0", "1"), (0.1, 0.5), "coarse", ("0", "1")),
        (("0", "0.1", "0.2", "1"), (0.1, 0.12, 0.2, 0.5), "coarse", ("0.2", "1")),
        (("0", "0.1", "0.2", "1"), (0.5, 0.3, 0.1, 0.1), "abrupt", ("0", "0.2")),  # in two steps, and down
        (("0", "0.25", "0.5", "0.75", "1"), (0.5, 0.1, 0.2, 0.4, 0.6), "there and back", ("0", "0.25")),
        (("0", "0.25", "0.5", "0.75", "1"), (0.1, 0.7, 0.7, 0.4, 0.4), "abrupt", ("0", "0.25")),  # half
        (("0.6", "0.7", "0.8", "0.9"), (0.1, 0.1, 0.5, 0.5), "coarse", ("0.7", "0.8")),  # a third of the λ
    ],
)  # fmt: skip
def test_a_form_is_that_of_the_narrowest_stretch_with_two_thirds_of_the_change(
    lambdas: Sequence[str], accuracy: Sequence[float], form: ChangeForm, stretch: tuple[str, str]
) -> None:
    found = of(lambdas, accuracy)["accuracy"]
    assert found.form == form
    assert (found.start, found.stop) == tuple(map(Fraction, stretch))


def test_what_hardly_changes_is_not_described() -> None:
    assert of(("0", "1"), (0.5, 0.5), (0, 0.2)) == {}
    assert set(of(("0", "1"), (0.5, 0.5), (0, 0.21))) == {"closed"}
    tokens = [Point(Fraction(0), 0.5, 80), Point(Fraction(1), 0.5, 100)]
    assert changes(published(tokens)) == ()
    assert [each.quantity for each in changes(published([tokens[1], Point(Fraction(0), 0.5, 79)]))] == [
        "tokens"
    ]
    assert changes(published(tokens[:1])) == ()


def test_a_form_is_as_sure_as_the_resamples_that_have_it() -> None:
    """Ten of twenty questions switch between two λ at once; the tenth of those gets right at λ = 1/4."""
    states: tuple[Thinking, Thinking] = ("none", "closed")
    rows = [
        rollout(f"q{n}", lam, correct=place > 2 and n < 10, thinking=states[place > 2])
        for n in range(20)
        for place, lam in enumerate(("0", "1/4", "1/2", "3/4", "1"))
    ]
    found = {each.quantity: each for each in changes(resample(tabulate(rows), seed=0))}
    assert (found["opened"].confidence, found["closed"].confidence) == (1, 1)
    assert found["accuracy"].form == "abrupt"
    assert found["accuracy"].confidence == pytest.approx(1, abs=1e-3)  # that none of the ten is drawn: 2**-20
    noisy = [
        rollout(f"q{n}", lam, correct=n < right)
        for lam, right in (("0", 2), ("1/4", 5), ("1/2", 8), ("3/4", 12), ("1", 15))
        for n in range(20)
    ]
    (accuracy,) = changes(resample(tabulate(noisy), seed=0))
    assert accuracy.form == "gradual"
    assert accuracy.confidence is not None
    assert 0.5 < accuracy.confidence < 1


def test_many_differences_must_each_be_clearer_than_one() -> None:
    values = np.ones((1000, 1))
    values[:20] = -1  # 98% in one direction
    assert distinct(values, questions=10_000).tolist() == [True]
    assert distinct(np.hstack([values, -values]), questions=10_000).tolist() == [False, False]
    one_of_two = np.hstack([np.ones((1000, 1)), np.zeros((1000, 1))])
    assert distinct(one_of_two, questions=10).tolist() == [True, False]


def test_few_questions_must_be_clearer_than_many() -> None:
    """Of ten: Φ(√(10/9) t_9), where t_9 = 2.2622 is the quantile of .975; Φ(2.3846) = 0.99145."""
    for misses, clear in ((8, True), (9, False)):  # 99.2% and 99.1% in one direction
        values = np.ones((1000, 1))
        values[:misses] = -1
        assert distinct(values, questions=10).tolist() == [clear]


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [((0, 2), (1, 3), True), ((0, 1), (1, 2), False), ((0, 3), (1, 2), True), ((2, 3), (0, 1), False)],
)
def test_stretches_that_share_only_an_end_do_not_overlap(
    one: tuple[int, int], other: tuple[int, int], shared: bool
) -> None:
    assert overlap(one, other) is overlap(other, one) is shared
