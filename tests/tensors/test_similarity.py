"""Sums over pairs of tensors against exact rationals, and what is concluded from them."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from dami_merge.tensors import similarity as module
from dami_merge.tensors.compiled import compiled_compare
from dami_merge.tensors.similarity import Similarity, Sums, compare

SUM_ERROR = 1e-12
"""Relative error of a float64 sum of 2**14 products, with room: 2**14 · 2**-53 is 1.8e-12, reached
only if every rounding errs the same way."""


def pair(seed: int, count: int, noise: float, dtype: torch.dtype = torch.bfloat16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(count, generator=generator, dtype=torch.float64)
    right = left + noise * torch.randn(count, generator=generator, dtype=torch.float64)
    return left.to(dtype), right.to(dtype)


def exact_sums(left: Tensor, right: Tensor) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Dot product, both squared norms and the squared distance, without any rounding."""
    pairs = [(Fraction(x), Fraction(y)) for x, y in zip(left.tolist(), right.tolist(), strict=True)]
    return (
        sum((x * y for x, y in pairs), Fraction(0)),
        sum((x * x for x, _ in pairs), Fraction(0)),
        sum((y * y for _, y in pairs), Fraction(0)),
        sum(((y - x) ** 2 for x, y in pairs), Fraction(0)),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_the_sums_are_those_of_exact_arithmetic(dtype: torch.dtype) -> None:
    left, right = pair(0, 3001, 0.1, dtype)
    sums = compare(left, right)
    found = (sums.dot, sums.instruct, sums.thinking, sums.difference)
    assert sums.elements == 3001
    for value, exact in zip(found, exact_sums(left, right), strict=True):
        assert value == pytest.approx(float(exact), rel=SUM_ERROR)


def test_two_sides_of_different_dtypes_are_compared_by_value() -> None:
    left, right = pair(0, 500, 0.1)
    mixed = compare(left.to(torch.float32), right.to(torch.float64))
    assert mixed == compare(left, right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_no_thread_count_changes_a_bit_of_the_sums_and_no_device_more_than_rounding(
    dtype: torch.dtype, device: str
) -> None:
    sides = [pair(seed, 70_001, 0.05, dtype) for seed in range(8)]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append([compare(left, right) for left, right in sides])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    for (left, right), sums in zip(sides, found[0], strict=True):
        elsewhere = compare(left.to(device), right.to(device))
        assert elsewhere.dot == pytest.approx(sums.dot, rel=SUM_ERROR)


def test_blocks_of_whole_chunks_add_up_to_the_sums_of_the_whole_to_the_last_bit() -> None:
    left, right = pair(2, 3 * module.CHUNK_ELEMENTS + 17, 0.05)
    cut = 2 * module.CHUNK_ELEMENTS
    parts = compare(left[:cut], right[:cut])
    for start in range(cut, len(left), module.CHUNK_ELEMENTS):
        part = slice(start, start + module.CHUNK_ELEMENTS)
        parts += compare(left[part], right[part])
    assert parts == compare(left, right)


def test_a_different_chunk_size_changes_the_sums_by_no_more_than_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left, right = pair(3, 100_001, 0.05)
    whole = compare(left, right)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 997)
    parts = compare(left, right)
    assert parts.elements == whole.elements
    assert parts.similarity().cosine == pytest.approx(whole.similarity().cosine, abs=1e-15, rel=1e-12)


def test_sums_add_up_field_by_field() -> None:
    total = Sums(1, 2.0, 3.0, 4.0, 5.0, 6, 7, 8.0) + Sums(10, 20.0, 30.0, 40.0, 50.0, 60, 70, 7.0)
    assert total == Sums(11, 22.0, 33.0, 44.0, 55.0, 66, 77, 8.0), "all are sums but the largest"
    assert Sums() + total == total


def test_identical_tensors_have_cosine_one_exactly() -> None:
    left, _ = pair(4, 10_001, 0.0)
    assert compare(left, left.clone()).similarity() == Similarity(10_001, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0)


def test_opposite_tensors_have_cosine_minus_one() -> None:
    left, _ = pair(5, 10_001, 0.0)
    found = compare(left, -left).similarity()
    assert found.cosine == -1.0
    assert found.relative_distance == pytest.approx(2.0)
    assert found.norm_ratio == 1.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("form", [compare, compiled_compare])
def test_equal_elements_opposite_signs_and_the_largest_change_are_counted(
    dtype: torch.dtype, form: Callable[[Tensor, Tensor], Sums]
) -> None:
    left, right = pair(11, 3 * module.CHUNK_ELEMENTS + 77, 0.5, dtype)
    right[::5] = left[::5]
    left[1::7] = 0.0
    right[2::7] = -0.0
    right[1::14] = -0.0
    sums = form(left, right)
    a, b = left.double(), right.double()
    assert sums.equal == int((a == b).sum())
    assert sums.opposed == int((a * b < 0).sum()) > 0
    assert sums.largest == float((b - a).abs().max())
    found = sums.similarity()
    assert found.identical == sums.equal / len(left)
    assert found.sign_agreement == 1 - sums.opposed / len(left)
    assert found.largest_change == pytest.approx(sums.largest / float(a.square().mean().sqrt()), rel=1e-12)


def test_a_multiple_points_the_same_way() -> None:
    left, _ = pair(6, 1000, 0.0)
    found = compare(left, 2 * left).similarity()
    assert found.cosine == 1.0
    assert found.relative_distance == pytest.approx(1.0)
    assert found.norm_ratio == pytest.approx(2.0)


def test_orthogonal_tensors_have_cosine_zero() -> None:
    found = compare(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).similarity()
    assert found.cosine == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    ("left", "right", "want"),
    [
        ([0.0, 0.0], [0.0, -0.0], Similarity(2, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0)),
        ([0.0, 0.0], [1.0, 2.0], Similarity(2, 0.0, math.inf, math.inf, 0.0, 1.0, math.inf)),
        ([3.0, 4.0], [0.0, 0.0], Similarity(2, 0.0, 1.0, 0.0, 0.0, 1.0, 4 * math.sqrt(2) / 5)),
        ([], [], Similarity(0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0)),
    ],
)
def test_zero_and_empty_tensors_have_stated_values(
    left: list[float], right: list[float], want: Similarity
) -> None:
    assert compare(torch.tensor(left), torch.tensor(right)).similarity() == want


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 4.5e-5])
@pytest.mark.parametrize("seed", range(7, 15))
def test_a_cosine_close_to_one_keeps_its_digits(seed: int, noise: float) -> None:
    """1 - cos of about noise²/2, down to 1e-9; the plain quotient would lose what it is about."""
    left, right = pair(seed, 1001, noise, torch.float64)
    dot, first, second, _ = exact_sums(left, right)
    exact = 1 - float(dot) / math.sqrt(float(first) * float(second))
    sine = float(first * second - dot * dot) / float(first * second)  # sin², exact before the division
    exact = sine / (1 + math.sqrt(1 - sine))
    found = 1 - compare(left, right).similarity().cosine
    assert exact < noise**2
    # A cosine just below 1 is a multiple of 2**-53: half of that is lost by writing it down.
    assert found == pytest.approx(exact, rel=1e-9, abs=0.51 * 2**-53)


def test_a_large_tensor_does_not_drift_above_one() -> None:
    """In float32 the cosine of an embedding of this kind comes out above 1."""
    left, right = pair(8, 1 << 21, 0.1)
    found = compare(left, right).similarity().cosine
    reference = float(
        torch.dot(left.double(), right.double()) / (left.double().norm() * right.double().norm())
    )
    assert found == pytest.approx(reference, rel=1e-12)
    assert found < 1
