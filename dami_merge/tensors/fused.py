"""`interpolate` as one Triton kernel: reads both inputs once and writes every λ.

There are two variants. `fused_interpolate` computes all λ of one vector, for a grid. `FusedWeights` writes
one λ of very many tensors in a single launch, for a live model: a table on the device locates each piece.

The arithmetic is the same as in `tensors.interpolate`: exact products, one correctly rounded division, one
rounding to the stored dtype. Only `tensors.kernels` imports this module, and only if Triton is installed.
Tests without a GPU run it in Triton's interpreter on a CPU, which is slow.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
import triton
import triton.language as tl
from torch import Tensor

from dami_merge.tensors.interpolate import copy_ends, interpolate, scaled_weights

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton reads the variable once, on import."""

_BLOCK = 1024
"""Elements per program of the grid kernel: eight for each of 128 threads, one 16-byte load."""

_PIECE = 1 << 15
"""Elements per program of the kernel for a live model."""

_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.float16}
"""Dtypes as the kernels see them: a bfloat16 is the upper half of a float32, so its bits are enough."""


@triton.jit
def _widened(place, inside):
    value = tl.load(place) if inside is None else tl.load(place, mask=inside, other=0)
    if value.dtype == tl.int16:
        return (value.to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    return value.to(tl.float32)


@triton.jit
def _mean(left, right, weight_left, weight_right, total, dtype: tl.constexpr, by_hand: tl.constexpr):
    mean = tl.div_rn(weight_left * left + weight_right * right, total)
    if dtype != tl.int16:
        return mean.to(dtype)
    if not by_hand:
        return mean.to(tl.bfloat16).to(tl.int16, bitcast=True)
    bits = mean.to(tl.uint32, bitcast=True)  # the interpreter truncates where the hardware rounds
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return tl.where(mean == mean, rounded, 0x7FC0).to(tl.int16)  # noqa: PLR0124  # NaN is not equal to itself


@triton.jit
def _nonfinite(left, right):
    infinite = float("inf")
    return tl.max(((tl.abs(left) < infinite) & (tl.abs(right) < infinite)).to(tl.int32) ^ 1, axis=0)


@triton.jit
def _grid_kernel(
    instruct,
    thinking,
    out,
    stride,
    weights,
    nonfinite,
    elements,
    rows: tl.constexpr,
    by_hand: tl.constexpr,
    look: tl.constexpr,
    block: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < elements
    left = _widened(instruct + at, inside)
    right = _widened(thinking + at, inside)
    for row in tl.static_range(rows):
        mean = _mean(
            left,
            right,
            tl.load(weights + 3 * row),
            tl.load(weights + 3 * row + 1),
            tl.load(weights + 3 * row + 2),
            out.dtype.element_ty,
            by_hand,
        )
        tl.store(out + row * stride + at, mean, mask=inside)
    if look:
        found = _nonfinite(left, right)
        if found > 0:
            tl.store(nonfinite, 1)


@triton.jit
def _table_kernel(
    base,
    table,
    weights,
    by_hand: tl.constexpr,
    block: tl.constexpr,
):
    dtype: tl.constexpr = base.dtype.element_ty
    entry = table + 4 * tl.program_id(0).to(tl.int64)
    instruct = base + 8 * tl.load(entry)  # multiples of 16 bytes, so that the compiler knows the alignment
    thinking = base + 8 * tl.load(entry + 1)
    out = base + 8 * tl.load(entry + 2)
    elements = tl.load(entry + 3)
    weight_left = tl.load(weights)
    weight_right = tl.load(weights + 1)
    total = tl.load(weights + 2)
    whole = elements // block * block
    for first in range(0, whole, block):  # no mask, so that loads and stores are 16 bytes wide
        at = first + tl.arange(0, block)
        left = _widened(instruct + at, None)
        right = _widened(thinking + at, None)
        tl.store(out + at, _mean(left, right, weight_left, weight_right, total, dtype, by_hand))
    at = whole + tl.arange(0, block)
    inside = at < elements
    left = _widened(instruct + at, inside)
    right = _widened(thinking + at, inside)
    tl.store(out + at, _mean(left, right, weight_left, weight_right, total, dtype, by_hand), mask=inside)


def fused_interpolate(
    instruct: Tensor,
    thinking: Tensor,
    lambdas: Sequence[Fraction],
    out: Tensor,
    nonfinite: Tensor | None = None,
) -> None:
    """Like `tensors.interpolate.interpolate`, the fallback for mixed or wider dtypes and other strides.

    Asynchronous: all work is queued on the current stream. Peak memory: three floats per λ.
    """
    alike = {instruct.dtype, thinking.dtype, out.dtype}
    if len(alike) > 1 or out.dtype not in _BITS or not _unit_strides(instruct, thinking, out):
        interpolate(instruct, thinking, lambdas, out, nonfinite)
        return
    inner, rows = copy_ends(instruct, thinking, lambdas, out)
    if not len(instruct) or not (inner or nonfinite is not None):
        return
    bits = _BITS[out.dtype]
    weights = torch.tensor([scaled_weights(lam) for lam in inner] or [(0.0, 0.0, 1.0)], dtype=torch.float32)
    with torch.cuda.device_of(instruct):  # not always the current device
        _grid_kernel[(triton.cdiv(len(instruct), _BLOCK),)](
            instruct.view(bits),
            thinking.view(bits),
            rows.view(bits) if len(inner) else instruct.view(bits),
            rows.stride(0),
            weights.to(instruct.device, non_blocking=True),
            nonfinite if nonfinite is not None else instruct,
            len(instruct),
            rows=len(inner),
            by_hand=INTERPRETED,
            look=nonfinite is not None,
            block=_BLOCK,
            enable_fp_fusion=False,
        )


@dataclass(frozen=True, slots=True)
class FusedWeights:
    """Tensors of one 16-bit dtype on one device, written for any 0 < λ < 1 in one launch.

    Attributes:
        base: One of the tensors; offsets count from its start.
        table: int64, shape [pieces, 4]: offsets to Instruct, Thinking and the model in units of 16 bytes, and
            the number of elements.
    """

    base: Tensor
    table: Tensor

    @staticmethod
    def takes(instruct: Tensor, thinking: Tensor, target: Tensor) -> bool:
        """Return whether three flat tensors, each of shape [n], can be in the table."""
        sides = (instruct, thinking, target)
        return (
            target.dtype in _BITS
            and all((side.dtype, side.device) == (target.dtype, target.device) for side in sides)
            and all(side.data_ptr() % 16 == 0 for side in sides)
            and _unit_strides(*sides)
        )

    @classmethod
    def of(cls, tensors: Sequence[tuple[Tensor, Tensor, Tensor]]) -> "FusedWeights":
        """Record where the tensors lie in memory; the caller must keep them alive and not move them.

        Args:
            tensors: `(instruct, thinking, target)`, flat, each accepted by `takes`, of one dtype and device.
        """
        base = tensors[0][2].view(_BITS[tensors[0][2].dtype])
        pieces = [
            (
                *((side.data_ptr() - base.data_ptr()) // 16 + first // 8 for side in sides),
                min(_PIECE, len(sides[2]) - first),
            )
            for sides in tensors
            for first in range(0, len(sides[2]), _PIECE)
        ]
        table = torch.tensor(pieces, dtype=torch.int64).reshape(-1, 4)
        return cls(base, table.to(base.device))

    def write(self, lam: Fraction) -> None:
        """Queue the write on the current stream; reads both endpoints once and writes every target once."""
        if not len(self.table):
            return
        weights = torch.tensor(scaled_weights(lam), dtype=torch.float32)
        with torch.cuda.device_of(self.base):
            _table_kernel[(len(self.table),)](
                self.base,
                self.table,
                weights.to(self.table.device, non_blocking=True),
                by_hand=INTERPRETED,
                block=_BLOCK,
                enable_fp_fusion=False,
            )


def _unit_strides(*sides: Tensor) -> bool:
    return all(side.stride(-1) == 1 for side in sides)
