"""Every form of the arithmetic against torch's on the CPU, which is itself tested against exact rationals."""

import math
import os
import subprocess
import sys
import threading
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from dami_merge.tensors import kernels
from dami_merge.tensors.compiled import compiled_compare, compiled_interpolate
from dami_merge.tensors.interpolate import interpolate
from dami_merge.tensors.kernels import (
    COMPILED_FROM_BYTES,
    TORCH,
    Kernel,
    becoming_fastest,
    fastest,
    fastest_compare,
)
from dami_merge.tensors.similarity import CHUNK_ELEMENTS, compare

CPU = torch.device("cpu")
LAMBDAS = sorted([*(Fraction(k, 10) for k in range(11)), Fraction(1, 3), Fraction(4095, 4096)])
INNER = LAMBDAS[1:-1]
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)

forms: list[Kernel] = [Kernel("numba", compiled_interpolate)]
if sys.platform == "linux":  # Triton is made for it alone
    from dami_merge.tensors.fused import FusedWeights, fused_interpolate

    forms.append(Kernel("triton", fused_interpolate, FusedWeights))

every_form = pytest.mark.parametrize("form", forms, ids=lambda form: form.name)


def where(form: Kernel) -> str:
    """Triton runs on a GPU where there is one, else in its interpreter."""
    return "cuda" if form.name == "triton" and torch.cuda.is_available() else "cpu"


def any_bits(seed: int, count: int, dtype: torch.dtype) -> Tensor:
    """Finite values of all magnitudes and both signs, subnormals and zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(-(1 << 15), 1 << 15, (count,), generator=generator).to(torch.int16)
    values = patterns.view(torch.bfloat16 if dtype != torch.float16 else dtype).to(dtype)
    values[::101] = -0.0
    return torch.where(torch.isfinite(values), values, torch.ones_like(values))


def same_bits(left: Tensor, right: Tensor) -> bool:
    return torch.equal(left.contiguous().view(torch.uint8), right.cpu().contiguous().view(torch.uint8))


@every_form
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lambdas", [LAMBDAS, INNER, [Fraction(0)], [Fraction(1)], []], ids=len)
def test_the_bits_are_torchs(form: Kernel, dtype: torch.dtype, lambdas: list[Fraction]) -> None:
    left, right = any_bits(1, 20_011, dtype), any_bits(2, 20_011, dtype)
    right[::3] = left[::3]
    want = torch.empty(len(lambdas), len(left), dtype=dtype)
    found = torch.empty_like(want, device=where(form))
    flag = torch.zeros(1, dtype=torch.int32, device=where(form))
    interpolate(left, right, lambdas, want)
    form.interpolate(left.to(where(form)), right.to(where(form)), lambdas, found, flag)
    assert same_bits(want, found)
    assert flag.tolist() == [0]


@every_form
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)], ids=str
)
def test_every_bit_pattern_of_one_side_comes_out_as_from_torch(form: Kernel, dtype: torch.dtype) -> None:
    patterns = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(dtype)
    left = patterns[torch.isfinite(patterns)]
    for shift in (0, 1, 777):
        right = left.roll(shift)
        want = torch.empty(len(INNER), len(left), dtype=dtype)
        found = torch.empty_like(want, device=where(form))
        interpolate(left, right, INNER, want)
        form.interpolate(left.to(where(form)), right.to(where(form)), INNER, found)
        assert same_bits(want, found)


@every_form
@pytest.mark.parametrize("count", [0, 1, 7, 1023, 1024, 1025, 2049])
def test_rows_that_lie_apart_and_any_length_work(form: Kernel, count: int) -> None:
    left, right = any_bits(3, count, torch.bfloat16), any_bits(4, count, torch.bfloat16)
    want = torch.empty(len(LAMBDAS), count, dtype=torch.bfloat16)
    apart = torch.full((len(LAMBDAS), count + 99), 7.0, dtype=torch.bfloat16, device=where(form))
    interpolate(left, right, LAMBDAS, want)
    form.interpolate(left.to(where(form)), right.to(where(form)), LAMBDAS, apart[:, 50 : 50 + count])
    assert same_bits(want, apart[:, 50 : 50 + count])
    assert bool((apart[:, :50] == 7).all())
    assert bool((apart[:, 50 + count :] == 7).all())


@every_form
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("element", [0, 4_999])
@pytest.mark.parametrize("side", [0, 1])
def test_one_value_that_is_not_finite_is_told_and_interpolated(
    form: Kernel, value: float, element: int, side: int
) -> None:
    sides = [any_bits(5, 5_000, torch.bfloat16), any_bits(6, 5_000, torch.bfloat16)]
    sides[side][element] = value
    want = torch.empty(len(INNER), 5_000, dtype=torch.bfloat16)
    found = torch.empty_like(want, device=where(form))
    flag = torch.zeros(1, dtype=torch.int32, device=where(form))
    interpolate(sides[0], sides[1], INNER, want)
    form.interpolate(sides[0].to(where(form)), sides[1].to(where(form)), INNER, found, flag)
    assert flag.tolist() == [1]
    assert torch.equal(want.isnan(), found.cpu().isnan())
    assert same_bits(want.nan_to_num(0), found.cpu().nan_to_num(0))


@every_form
def test_nobody_has_to_look(form: Kernel) -> None:
    side = torch.tensor([math.nan, 1.0], dtype=torch.bfloat16, device=where(form))
    out = torch.empty(1, 2, dtype=torch.bfloat16, device=where(form))
    form.interpolate(side, side, [Fraction(1, 2)], out)
    assert out[0].isnan().tolist() == [True, False]
    assert float(out[0, 1]) == 1.0


@every_form
def test_inputs_of_two_dtypes_are_taken_too(form: Kernel) -> None:
    left, right = any_bits(7, 999, torch.bfloat16), any_bits(8, 999, torch.float32)
    want = torch.empty(len(INNER), 999, dtype=torch.bfloat16)
    found = torch.empty_like(want, device=where(form))
    interpolate(left, right, INNER, want)
    form.interpolate(left.to(where(form)), right.to(where(form)), INNER, found)
    assert same_bits(want, found)


many_forms = pytest.mark.parametrize("form", [f for f in forms if f.many], ids=lambda form: form.name)


@many_forms
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_very_many_tensors_are_written_at_once(form: Kernel, dtype: torch.dtype) -> None:
    assert form.many is not None
    sizes = [1, 8, 1000, 1024, 40_000, 3]
    device = where(form)
    sides = [
        (
            any_bits(2 * n, size, dtype).to(device),
            any_bits(2 * n + 1, size, dtype).to(device),
            torch.zeros(size, dtype=dtype, device=device),
        )
        for n, size in enumerate(sizes)
    ]
    assert all(form.many.takes(*each) for each in sides)
    many = form.many.of(sides)
    for lam in (Fraction(3, 10), Fraction(1, 4096), Fraction(3, 10)):
        many.write(lam)
        for left, right, target in sides:
            want = torch.empty(1, len(left), dtype=dtype)
            interpolate(left.cpu(), right.cpu(), [lam], want)
            assert same_bits(want[0], target)


@many_forms
def test_what_cannot_be_written_at_once_is_told(form: Kernel) -> None:
    assert form.many is not None
    plain = torch.zeros(64, dtype=torch.bfloat16)
    assert form.many.takes(plain, plain, plain)
    assert not form.many.takes(plain, plain, plain.float())
    assert not form.many.takes(plain.float(), plain, plain)
    assert not form.many.takes(plain[1:33], plain[:32], plain[:32]), "two bytes past a multiple of 16"
    assert not form.many.takes(plain[::2], plain[::2], plain[::2])


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dami_merge.tensors import fused

sixteen = [["tt.divisibility", 16]]
grid = ASTSource(
    fused._grid_kernel,
    signature=dict(instruct="*i16", thinking="*i16", out="*i16", stride="i64", weights="*fp32",
                   nonfinite="*i32", elements="i64", rows="constexpr", by_hand="constexpr",
                   look="constexpr", block="constexpr"),
    constexprs=dict(rows=9, by_hand=False, look=True, block=fused._BLOCK),
    attrs={(at,): sixteen for at in (0, 1, 2, 3, 6)},
)
table = ASTSource(
    fused._table_kernel,
    signature=dict(base="*i16", table="*i64", weights="*fp32", by_hand="constexpr", block="constexpr"),
    constexprs=dict(by_hand=False, block=fused._BLOCK),
    attrs={(0,): sixteen, (1,): sixteen},
)
for capability in (80, 90, 100):
    for source in (grid, table):
        built = triton.compile(
            source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": False}
        )
        ptx = built.asm["ptx"]
        print(
            len(built.asm["cubin"]) > 0,
            ptx.count("ld.global.v4.b32"),
            ptx.count("st.global.v4.b32"),
            "div.rn.f32" in ptx and "div.approx" not in ptx and "div.full" not in ptx,
            "cvt.rn.bf16x2.f32" in ptx,
        )
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is made for Linux")
def test_the_kernels_compile_for_gpus_with_wide_accesses_and_correct_rounding() -> None:
    """Needs no GPU: 16 bytes a load and store, an exact division, and the hardware's rounding to nearest."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, check=True, env=environment
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [["True", "2", "9", "True", "True"], ["True", "2", "1", "True", "True"]] * 3


def test_small_work_does_not_start_a_compiler() -> None:
    assert fastest(CPU, output_bytes=COMPILED_FROM_BYTES - 1) == TORCH
    assert fastest_compare(input_bytes=COMPILED_FROM_BYTES - 1) is compare


def test_large_work_is_given_to_what_was_compiled() -> None:
    assert fastest(CPU, output_bytes=COMPILED_FROM_BYTES).name == "numba"
    assert fastest_compare(input_bytes=COMPILED_FROM_BYTES) is compiled_compare


def test_work_begins_before_the_compiler_is_ready_and_goes_on_with_it() -> None:
    current = becoming_fastest(CPU, output_bytes=COMPILED_FROM_BYTES)
    assert current().name in {"torch", "numba"}
    for thread in threading.enumerate():
        if thread.name == "load the compiled kernel":
            thread.join()
    assert current().name == "numba"
    small = becoming_fastest(CPU, output_bytes=0)
    assert small() == TORCH


def test_without_numba_and_triton_torch_does_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dami_merge.tensors.compiled", None)
    monkeypatch.setitem(sys.modules, "dami_merge.tensors.fused", None)
    assert fastest(CPU, output_bytes=COMPILED_FROM_BYTES) == TORCH
    assert fastest_compare(input_bytes=COMPILED_FROM_BYTES) is compare
    assert becoming_fastest(CPU, output_bytes=COMPILED_FROM_BYTES)() == TORCH
    assert kernels._triton() is None


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, CHUNK_ELEMENTS, 3 * CHUNK_ELEMENTS + 17])
def test_compiled_sums_are_torchs_but_for_the_order_of_addition(count: int) -> None:
    generator = torch.Generator().manual_seed(9)
    left = torch.randn(count, generator=generator).to(torch.bfloat16)
    right = (left.float() + 0.01 * torch.randn(count, generator=generator)).to(torch.bfloat16)
    found, want = compiled_compare(left, right), compare(left, right)
    assert found.elements == want.elements == count
    assert (found.equal, found.opposed, found.largest) == (want.equal, want.opposed, want.largest)
    for name in ("dot", "instruct", "thinking", "difference"):
        assert getattr(found, name) == pytest.approx(getattr(want, name), rel=1e-12, abs=1e-12)


def test_compiled_sums_of_blocks_add_up_to_those_of_the_whole_to_the_last_bit() -> None:
    left, right = any_bits(1, 3 * CHUNK_ELEMENTS + 5, torch.float16).to(torch.bfloat16), torch.ones(1)
    right = left.roll(1)
    parts = compiled_compare(left[:0], right[:0])
    for start in range(0, len(left), CHUNK_ELEMENTS):
        parts += compiled_compare(left[start : start + CHUNK_ELEMENTS], right[start : start + CHUNK_ELEMENTS])
    assert parts == compiled_compare(left, right)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_sums_of_other_dtypes_are_torchs(dtype: torch.dtype) -> None:
    left, right = torch.randn(99).to(dtype), torch.randn(99).to(dtype)
    assert compiled_compare(left, right) == compare(left, right)


def test_sums_of_values_that_are_not_finite_are_not_finite() -> None:
    left = torch.tensor([1.0, math.nan], dtype=torch.bfloat16)
    right = torch.tensor([math.inf, 1.0], dtype=torch.bfloat16)
    sums = compiled_compare(left, right)
    assert math.isnan(sums.instruct)
    assert math.isinf(sums.thinking)


@pytest.mark.slow
def test_the_cosine_of_a_huge_tensor_is_exact_to_more_than_seven_digits() -> None:
    """233 million elements, as a large embedding has; small integers, so that the sums are known exactly."""
    count = 233_000_000
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(1, 64, (count,), generator=generator, dtype=torch.int8)
    right = left + torch.randint(-1, 2, (count,), generator=generator, dtype=torch.int8)
    dot = norm_left = norm_right = 0
    for start in range(0, count, 1 << 24):
        x, y = left[start : start + (1 << 24)].long(), right[start : start + (1 << 24)].long()
        dot, norm_left, norm_right = (
            dot + int((x * y).sum()),
            norm_left + int((x * x).sum()),
            norm_right + int((y * y).sum()),
        )
    cosine = dot / math.sqrt(norm_left * norm_right)
    sides = left.to(torch.bfloat16), right.to(torch.bfloat16)
    for form in (compare, compiled_compare):
        sums = form(*sides)
        assert (sums.dot, sums.instruct, sums.thinking) == (dot, norm_left, norm_right)
        assert sums.similarity().cosine == pytest.approx(cosine, abs=1e-12)
