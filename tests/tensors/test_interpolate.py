"""The arithmetic against exact rationals, mergekit, and itself on other threads and devices."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dami_merge.tensors import interpolate as module
from dami_merge.tensors.interpolate import interpolate, working_dtype
from tests.tensors.rational import (
    BF16,
    FP16,
    FP32,
    FP64,
    Format,
    bits_of,
    neighbours,
    rounded,
    significant_bits,
    tensor_of,
    value_of,
    weighted_mean,
)

LAMBDAS = [
    *(Fraction(k, 10) for k in range(1, 10)),
    *map(Fraction, ("1/2", "1/3", "37/100", "1/7", "1/4096", "4095/4096", "1000/1001")),
]
ENDS = [Fraction(0), Fraction(1)]

NOT_SUBNORMAL_FP64 = Fraction(2) ** -900
"""Below this the low halves of float64 operands underflow; the module's docstring excludes it."""

quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)
Merge = Callable[[list[Tensor], Fraction], Tensor]


def merged(instruct: Tensor, thinking: Tensor, lambdas: list[Fraction], out: torch.dtype) -> list[Tensor]:
    rows = torch.empty(len(lambdas), len(instruct), dtype=out, device=instruct.device)
    order = sorted(range(len(lambdas)), key=lambda number: lambdas[number])
    interpolate(instruct, thinking, [lambdas[number] for number in order], rows)
    return [rows[order.index(number)] for number in range(len(lambdas))]


def finite(instruct: Tensor, thinking: Tensor, lambdas: list[Fraction], out: Tensor) -> bool:
    """Interpolate, and say what the flag says."""
    nonfinite = torch.zeros(1, dtype=torch.int32, device=instruct.device)
    interpolate(instruct, thinking, lambdas, out, nonfinite)
    return nonfinite.tolist() == [0]


@st.composite
def weights(draw: st.DrawFn, form: Format) -> tuple[int, int]:
    """Two finite patterns: unrelated, neighbours, tiny, near the maximum, alike in size, or cancelling."""
    top = form.infinity - 1
    finite = st.integers(0, top)
    kind = draw(st.sampled_from(("any", "near", "tiny", "huge", "alike", "cancel", "zero")))
    left, right = draw(finite), draw(finite)
    if kind == "near":
        right = min(max(left + draw(st.integers(-3, 3)), 0), top)
    elif kind == "tiny":
        left, right = left % (2 << form.mantissa), right % (2 << form.mantissa)
    elif kind == "huge":
        left, right = top - left % 4, top - right % 4
    elif kind == "alike":
        gap = draw(st.integers(-12, 12)) << form.mantissa
        right = min(max(left + gap + draw(st.integers(-8, 8)), 0), top)
    elif kind == "cancel":
        lam = draw(st.sampled_from(LAMBDAS))
        right = min(rounded(value_of(left, form) * (1 - lam) / lam, form), top)
        return left, right | form.minus
    elif kind == "zero":
        left, right = 0, right % 4
    return left | draw(st.sampled_from((0, form.minus))), right | draw(st.sampled_from((0, form.minus)))


def many(form: Format) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(weights(form), min_size=1, max_size=24)


def narrowed(bits: int, source: Format, target: Format) -> int:
    """A finite pattern in another format, clamped to its finite range."""
    if source is target:
        return bits
    there = rounded(value_of(bits, source), target)
    magnitude = min(there & (target.minus - 1), target.infinity - 1)
    return magnitude | (target.minus if bits & source.minus else 0)


def is_promised_exact(
    left: int, right: int, lam: Fraction, sides: tuple[Format, Format], out: Format
) -> bool:
    """Whether the sum of the two integer-weighted products fits the working mantissa, as documented."""
    values = value_of(left, sides[0]), value_of(right, sides[1])
    if FP64 in sides and any(0 < abs(value) < NOT_SUBNORMAL_FP64 for value in values):
        return False
    total = (lam.denominator - lam.numerator) * values[0] + lam.numerator * values[1]
    if FP64 in sides:
        return significant_bits(total) <= 78
    working = working_dtype(sides[0].dtype, sides[1].dtype, out.dtype)
    return significant_bits(total) <= (24 if working == torch.float32 else 53)


def assert_exact(pairs: list[tuple[int, int]], sides: tuple[Format, Format], out: Format) -> None:
    left = tensor_of([pair[0] for pair in pairs], sides[0])
    right = tensor_of([pair[1] for pair in pairs], sides[1])
    for lam, result in zip(LAMBDAS, merged(left, right, LAMBDAS, out.dtype), strict=True):
        for (a, b), got in zip(pairs, bits_of(result), strict=True):
            want = weighted_mean(a, b, lam, sides, out)
            if is_promised_exact(a, b, lam, sides, out):
                assert got == want, f"λ={lam} of {a:#x}, {b:#x}: {got:#x}, exactly {want:#x}"
            elif FP64 not in sides:
                assert_next_to(got, a, b, lam, sides, out)


def assert_next_to(
    got: int, a: int, b: int, lam: Fraction, sides: tuple[Format, Format], out: Format
) -> None:
    """Too many bits for the working mantissa: one of the two neighbours, the wrong one at a near-tie only."""
    exact = (1 - lam) * value_of(a, sides[0]) + lam * value_of(b, sides[1])
    down, rest = neighbours(exact, out)
    magnitude = got & (out.minus - 1)
    assert magnitude in {down, min(down + 1, out.infinity)}
    if magnitude != rounded(exact, out) & (out.minus - 1):
        slack = Fraction(1, 2**11) if out is not FP64 else Fraction(1)
        assert abs(rest - Fraction(1, 2)) < slack, "not even near a tie"


@quick
@given(many(BF16))
def test_bfloat16_results_are_the_exact_rational_rounded_once(pairs: list[tuple[int, int]]) -> None:
    assert_exact(pairs, (BF16, BF16), BF16)


@quick
@given(many(FP16))
def test_float16_results_are_the_exact_rational_rounded_once(pairs: list[tuple[int, int]]) -> None:
    assert_exact(pairs, (FP16, FP16), FP16)


@quick
@given(many(FP32))
def test_float32_results_are_the_exact_rational_rounded_once(pairs: list[tuple[int, int]]) -> None:
    assert_exact(pairs, (FP32, FP32), FP32)


@quick
@given(many(FP64))
def test_float64_results_are_the_exact_rational_rounded_once(pairs: list[tuple[int, int]]) -> None:
    assert_exact(pairs, (FP64, FP64), FP64)


@pytest.mark.parametrize(
    ("instruct", "thinking", "out"),
    [
        (FP32, FP32, BF16),
        (FP32, FP32, FP16),
        (FP64, FP64, BF16),
        (FP64, FP64, FP16),
        (FP64, FP64, FP32),
        (BF16, FP16, BF16),
        (BF16, FP32, BF16),
        (FP64, BF16, FP16),
        (BF16, BF16, FP16),
        (FP16, FP16, BF16),
        (BF16, BF16, FP32),
        (FP16, BF16, FP64),
        (FP32, FP32, FP64),
    ],
    ids=lambda form: str(form.dtype).removeprefix("torch."),
)
def test_every_mix_of_dtypes_is_rounded_once(instruct: Format, thinking: Format, out: Format) -> None:
    wider = max(instruct, thinking, key=lambda form: form.width)

    @settings(quick, max_examples=12)
    @given(many(wider))
    def check(pairs: list[tuple[int, int]]) -> None:
        moved = [(narrowed(a, wider, instruct), narrowed(b, wider, thinking)) for a, b in pairs]
        assert_exact(moved, (instruct, thinking), out)

    check()


@pytest.mark.parametrize("source", [FP32, FP64], ids=["float32", "float64"])
@pytest.mark.parametrize("out", [BF16, FP16], ids=["bfloat16", "float16"])
@quick
@given(odd=st.integers(0, 127), step=st.sampled_from((-1, 1)))
def test_a_value_beside_a_tie_of_the_written_dtype_is_not_rounded_twice(
    source: Format, out: Format, odd: int, step: int
) -> None:
    """Rounding to the working dtype first would land on the tie and then go to even."""
    tie = rounded(1 + Fraction(2 * odd + 1, 2 << out.mantissa), source)
    assert_exact([(tie, tie + step), (tie + step, tie)], (source, source), out)
    (copied,) = merged(tensor_of([tie + step], source), tensor_of([tie], source), [Fraction(0)], out.dtype)
    assert bits_of(copied) == [rounded(value_of(tie + step, source), out)]


@pytest.fixture(scope="module")
def mergekit_linear() -> Merge:
    from mergekit.merge_methods import merge_tensors

    def merge(tensors: list[Tensor], lam: Fraction) -> Tensor:
        weight = [lam.denominator - lam.numerator, lam.numerator]
        result: Tensor = merge_tensors(tensors, "linear", parameters={"weight": weight})
        return result

    return merge


@pytest.mark.parametrize("form", [BF16, FP16], ids=["bfloat16", "float16"])
def test_sixteen_bit_results_are_mergekits_linear_bit_for_bit(form: Format, mergekit_linear: Merge) -> None:
    """All pairs of high bytes and 100,000 random pairs, large exponent gaps among them.

    Two differences, both in our favour: mergekit starts its sum at +0, so that (-0, -0) becomes +0 and not
    -0; and q·a overflows in it above max/q, where ours is scaled (the next test).
    """
    top = form.infinity - 1
    limit = top - (12 << form.mantissa) if form is BF16 else top  # q of up to 4096 does not overflow
    every = torch.cartesian_prod(torch.arange(256), torch.arange(256)) << 8
    generator = torch.Generator().manual_seed(0)
    pairs = torch.cat([every, torch.randint(0, 1 << 16, (100_000, 2), generator=generator)])
    magnitude = (pairs & 0x7FFF).clamp(max=limit)
    left, right = (magnitude | (pairs & 0x8000)).to(torch.int16).view(form.dtype).unbind(1)
    left, right = left.contiguous(), right.contiguous()
    both_minus_zero = (pairs & 0xFFFF == 0x8000).all(dim=1)
    for lam in LAMBDAS:
        (ours,) = merged(left, right, [lam], form.dtype)
        theirs = mergekit_linear([left, right], lam)
        ours = torch.where(both_minus_zero, torch.zeros_like(ours), ours)
        differ = int((ours.view(torch.int16) != theirs.view(torch.int16)).sum())
        assert differ == 0, f"λ={lam}: {differ} of {len(ours)} differ"


@pytest.mark.parametrize("form", [BF16, FP16, FP32, FP64], ids=["bfloat16", "float16", "float32", "float64"])
def test_the_endpoints_are_copies_of_every_byte(form: Format, device: str) -> None:
    nan, minus = form.infinity + 1, form.minus
    patterns = [0, minus, 1, minus | 1, form.infinity, minus | form.infinity, nan, minus | nan]
    patterns += [form.infinity | 5, minus | (form.infinity + 3), (1 << form.width) - 1, form.infinity - 1]
    left = tensor_of(patterns, form).to(device)
    right = tensor_of(patterns[::-1], form).to(device)
    first, last = merged(left, right, ENDS, form.dtype)
    assert bits_of(first) == patterns
    assert bits_of(last) == patterns[::-1]


def realistic(seed: int, dtype: torch.dtype, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(count, generator=generator, dtype=torch.float64) * 0.02
    right = left + torch.randn(count, generator=generator, dtype=torch.float64) * 0.001
    return left.to(dtype), right.to(dtype)


DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_swapping_the_sides_and_reflecting_lambda_gives_the_same_bits(
    dtype: torch.dtype, device: str
) -> None:
    left, right = (side.to(device) for side in realistic(1, dtype, 5000))
    there = merged(left, right, LAMBDAS, dtype)
    back = merged(right, left, [1 - lam for lam in LAMBDAS], dtype)
    for lam, one, other in zip(LAMBDAS, there, back, strict=True):
        assert bits_of(one) == bits_of(other), f"λ={lam}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_results_do_not_depend_on_chunks_threads_or_device(
    dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = realistic(2, dtype, 20_011)
    want = merged(left, right, LAMBDAS, dtype)
    before = torch.get_num_threads()
    try:
        for step, threads in ((9973, 1), (1 << 26, 2)):
            monkeypatch.setattr(module, "STEP_BYTES", step)
            torch.set_num_threads(threads)
            got = merged(left.to(device), right.to(device), LAMBDAS, dtype)
            assert all(torch.equal(x, y.cpu()) for x, y in zip(want, got, strict=True))
    finally:
        torch.set_num_threads(before)


@quick
@given(st.sampled_from((BF16, FP16, FP32, FP64)), st.data())
def test_equal_weights_stay_what_they_are_at_every_lambda(form: Format, data: st.DataObject) -> None:
    pattern = st.integers(0, form.infinity - 1).filter(
        lambda bits: form is not FP64 or bits == 0 or value_of(bits, form) > NOT_SUBNORMAL_FP64
    )
    patterns = data.draw(st.lists(st.builds(lambda b, s: b | s, pattern, st.sampled_from((0, form.minus)))))
    values = tensor_of(patterns, form)
    for result in merged(values, values.clone(), LAMBDAS, form.dtype):
        assert bits_of(result) == patterns


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_one_value_that_is_not_finite_is_told(
    dtype: torch.dtype, value: float, side: int, device: str
) -> None:
    sides = [values.to(device) for values in realistic(3, dtype, 5_000)]
    out = torch.empty_like(sides[0])[None]
    assert finite(sides[0], sides[1], [Fraction(1, 2)], out)
    sides[side][4_999] = value
    assert not finite(sides[0], sides[1], [Fraction(1, 2)], out)
    assert not math.isfinite(float(out[0][4_999]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_infinities_of_both_signs_are_told_although_their_sum_is_no_infinity(dtype: torch.dtype) -> None:
    both = torch.tensor([math.inf, -math.inf], dtype=dtype)
    assert not finite(both, torch.zeros_like(both), [Fraction(1, 2)], torch.empty_like(both)[None])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_finite_values_whose_sum_overflows_count_as_finite(dtype: torch.dtype) -> None:
    large = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    out = torch.empty_like(large)[None]
    assert finite(large, large, [Fraction(3, 10)], out)
    assert torch.equal(out[0], large)


def test_a_value_that_the_written_dtype_cannot_hold_becomes_an_infinity() -> None:
    large = torch.tensor([70000.0, -70000.0, 65519.0])
    for result in merged(large, large, [Fraction(0), Fraction(1, 2), Fraction(1)], torch.float16):
        assert result.tolist() == [math.inf, -math.inf, 65504.0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_empty_and_one_element_tensors_work(dtype: torch.dtype, device: str) -> None:
    empty = torch.empty(0, dtype=dtype, device=device)
    assert finite(empty, empty, LAMBDAS, empty.new_empty(len(LAMBDAS), 0))
    one, three = torch.tensor([1.0], dtype=dtype), torch.tensor([3.0], dtype=dtype)
    (middle,) = merged(one.to(device), three.to(device), [Fraction(1, 2)], dtype)
    assert middle.tolist() == [2.0]


def test_without_a_lambda_the_inputs_are_still_looked_at() -> None:
    values = torch.tensor([1.0, math.nan])
    nothing = torch.empty(0, 2)
    assert not finite(values, values, [], nothing)
    assert finite(values[:1], values[:1], [], nothing[:, :1])


def test_rows_may_lie_apart() -> None:
    left, right = realistic(5, torch.bfloat16, 3000)
    apart = torch.zeros(len(LAMBDAS), 5000, dtype=torch.bfloat16)
    interpolate(left, right, LAMBDAS, apart[:, 1000:4000])
    for row, want in zip(apart, merged(left, right, LAMBDAS, torch.bfloat16), strict=True):
        assert bits_of(row[1000:4000]) == bits_of(want)
    assert not apart[:, :1000].any()
    assert not apart[:, 4000:].any()


def test_sixteen_bits_are_computed_in_float32_and_anything_wider_in_float64() -> None:
    assert working_dtype(torch.bfloat16, torch.float16, torch.bfloat16) == torch.float32
    assert working_dtype(torch.bfloat16, torch.bfloat16, torch.float32) == torch.float64
    assert working_dtype(torch.float32, torch.bfloat16, torch.bfloat16) == torch.float64
