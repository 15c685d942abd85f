"""λ as exact fractions: what is read, what is refused, names and the nearest member."""

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.errors import LambdaError
from dami_merge.lambdas import (
    MAX_DENOMINATOR,
    even_grid,
    exact,
    folder_name,
    label,
    nearest,
    nearest_computable,
    ordered,
    parse_lambda,
    parse_lambdas,
)

fractions = st.integers(1, MAX_DENOMINATOR).flatmap(lambda q: st.integers(0, q).map(lambda p: Fraction(p, q)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.3", Fraction(3, 10)),
        (" 0.30 ", Fraction(3, 10)),
        ("3/10", Fraction(3, 10)),
        ("2/4", Fraction(1, 2)),
        ("5e-1", Fraction(1, 2)),
        (0.3, Fraction(3, 10)),
        (0.1, Fraction(1, 10)),
        (0, Fraction(0)),
        (1.0, Fraction(1)),
        (np.float64(0.7), Fraction(7, 10)),
        (np.int64(1), Fraction(1)),
        (Fraction(1, 4096), Fraction(1, 4096)),
    ],
)
def test_a_lambda_is_read_as_the_fraction_that_was_meant(value: str | float, expected: Fraction) -> None:
    assert parse_lambda(value) == expected


@pytest.mark.parametrize(
    "value",
    ["", "a", "1/0", "0.3.1", "nan", "inf", float("nan"), float("inf"), True, None, [0.5], "9" * 5000],
)
def test_what_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(LambdaError, match=r"^λ = .* is not a number$") as refused:
        parse_lambda(value)
    assert refused.value.hint == "write 0.3, 3/10 or 1"
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("value", ["1e999999999", "1e-999999999", "0.5E+9999"])
def test_an_exponent_that_would_fill_the_memory_is_refused_at_once(value: str) -> None:
    with pytest.raises(LambdaError, match=r"is not a number"):
        parse_lambda(value)


@pytest.mark.parametrize("value", ["-0.1", "1.01", 2, -1, Fraction(4097, 4096), 1e300])
def test_a_lambda_outside_the_segment_is_refused(value: str | float) -> None:
    with pytest.raises(LambdaError, match=r"^λ = .* is outside \[0, 1\]$") as refused:
        parse_lambda(value)
    assert "0 is the Instruct model" in refused.value.hint


def test_a_lambda_finer_than_the_weights_is_refused_with_its_neighbour() -> None:
    with pytest.raises(LambdaError, match="λ = 1/4097 is 1/4097, finer than 1/4096") as refused:
        parse_lambda("1/4097")
    assert refused.value.hint == "use 0: 16-bit weights cannot tell the two apart"


def test_a_lambda_that_is_only_asked_for_may_be_of_any_denominator() -> None:
    assert exact("0.123456789") == Fraction(123456789, 10**9)
    assert exact(1 / 3) == Fraction("0.3333333333333333")


def test_a_list_is_sorted() -> None:
    assert parse_lambdas("1, 0,1/4,0.5") == tuple(Fraction(k, 4) for k in (0, 1, 2, 4))


@pytest.mark.parametrize("text", ["0.5,1/2", "0,0.30,1,3/10"])
def test_a_lambda_that_is_given_twice_is_refused(text: str) -> None:
    with pytest.raises(LambdaError, match=r"^duplicate λ = 0\.(50|30)$"):
        parse_lambdas(text)


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(LambdaError, match=r"^the grid has no λ$") as refused:
        ordered([])
    assert "--lambdas 0.5" in refused.value.hint
    with pytest.raises(LambdaError, match="λ = '' is not a number"):
        parse_lambdas("")


def test_the_default_grid_has_eleven_members() -> None:
    assert even_grid(10) == tuple(Fraction(k, 10) for k in range(11))


@pytest.mark.parametrize("steps", [0, -1, 4097])
def test_an_impossible_number_of_steps_is_refused(steps: int) -> None:
    with pytest.raises(LambdaError, match=f"^the number of steps must be from 1 to 4096, not {steps}$"):
        even_grid(steps)


@pytest.mark.parametrize(
    ("lam", "name"),
    [
        (Fraction(0), "lambda-0.00"),
        (Fraction(3, 10), "lambda-0.30"),
        (Fraction(1), "lambda-1.00"),
        (Fraction(3, 8), "lambda-0.375"),
        (Fraction(1, 40), "lambda-0.025"),
        (Fraction(1, 4096), "lambda-0.000244140625"),
        (Fraction(1, 3), "lambda-1of3"),
        (Fraction(1, 2**20), "lambda-1of1048576"),
    ],
)
def test_a_folder_is_named_as_people_write_the_lambda(lam: Fraction, name: str) -> None:
    assert folder_name(lam) == name


@given(fractions)
def test_a_label_says_exactly_the_lambda(lam: Fraction) -> None:
    assert parse_lambda(label(lam).replace("of", "/")) == lam


@given(fractions, fractions)
def test_two_lambdas_never_share_a_label(left: Fraction, right: Fraction) -> None:
    assert (label(left) == label(right)) == (left == right)


def test_the_names_of_the_default_grid_sort_as_their_values() -> None:
    names = [folder_name(lam) for lam in even_grid(10)]
    assert names == sorted(names)


@given(fractions, st.lists(fractions, min_size=1, max_size=8))
def test_the_nearest_member_is_nearest_and_of_two_the_smaller(
    wanted: Fraction, members: list[Fraction]
) -> None:
    found = nearest(wanted, members)
    assert found in members
    for member in members:
        assert (abs(found - wanted), found) <= (abs(member - wanted), member)


def test_a_tie_goes_to_the_smaller_member_in_any_order() -> None:
    for members in itertools.permutations([Fraction(1, 2), Fraction(2, 5)]):
        assert nearest(Fraction(9, 20), members) == Fraction(2, 5)


def test_nearest_of_nothing_is_refused() -> None:
    with pytest.raises(LambdaError, match=r"^no λ is available$"):
        nearest(Fraction(1, 2), [])


def test_a_computable_lambda_stays_and_a_finer_one_becomes_the_nearest() -> None:
    for lam in (Fraction(0), Fraction(1, 4096), Fraction(1000, 4095), Fraction(1)):
        assert nearest_computable(lam) == lam
    draws = random.Random(0)
    for _ in range(200):
        fine = Fraction(draws.randrange(10**9), 10**9)
        found = nearest_computable(fine)
        assert found.denominator <= MAX_DENOMINATOR
        assert abs(found - fine) <= Fraction(1, 8192)
    with pytest.raises(LambdaError, match="outside"):
        nearest_computable(1.0001)
