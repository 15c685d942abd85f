"""`interpolate` and `compare` compiled by numba for bfloat16 on a CPU: the same bits, a quarter of the time.

One pass: each chunk of both inputs is widened once, stays in the core's L1 cache, and yields every λ.
Only `tensors.kernels` imports this module, and only if numba is installed (the extra `fast`).
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dami_merge.tensors.interpolate import copy_ends, interpolate, scaled_weights
from dami_merge.tensors.similarity import CHUNK_ELEMENTS, Sums
from dami_merge.tensors.similarity import compare as compare_torch

_CHUNK = 2048
"""Elements widened at once: 8 KiB for each of three vectors."""

_LANES = 64
"""Parallel running sums: no addition waits for the previous one, and the order is the same on every CPU."""

Bits16 = NDArray[np.uint16]
Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    """Compile at the first call, and cache the result on disk if a cache folder is writable."""
    try:
        return cast("Function", numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # numba found no writable cache folder
        return cast("Function", numba.njit(nogil=True, error_model="numpy")(function))


def compiled_interpolate(
    instruct: Tensor,
    thinking: Tensor,
    lambdas: Sequence[Fraction],
    out: Tensor,
    nonfinite: Tensor | None = None,
) -> None:
    """Like `tensors.interpolate.interpolate`, the fallback for all but bfloat16 with unit stride on a CPU.

    Peak memory: 24 KiB.
    """
    inner = [lam for lam in lambdas if 0 < lam < 1]
    sides = (instruct, thinking, out)
    if not inner or any(
        x.dtype != torch.bfloat16 or x.device.type != "cpu" or x.stride(-1) != 1 for x in sides
    ):
        interpolate(instruct, thinking, lambdas, out, nonfinite)
        return
    _, rows = copy_ends(instruct, thinking, lambdas, out)
    weights = np.array([scaled_weights(lam) for lam in inner], np.float32)
    stride, size = rows.stride(0), len(instruct)
    flat = rows.as_strided(((len(inner) - 1) * stride + size,), (1,))
    if _blend(_bits(instruct), _bits(thinking), weights, _bits(flat), stride):
        return
    interpolate(instruct, thinking, lambdas, out, nonfinite)  # so that every NaN has torch's bits


def compiled_compare(instruct: Tensor, thinking: Tensor) -> Sums:
    """Like `tensors.similarity.compare`, the fallback for all but contiguous bfloat16 on a CPU."""
    sides = (instruct, thinking)
    if any(
        side.dtype != torch.bfloat16 or side.device.type != "cpu" or not side.is_contiguous()
        for side in sides
    ):
        return compare_torch(instruct, thinking)
    dot, norm_left, norm_right, difference, equal, opposed, largest = _sums(_bits(instruct), _bits(thinking))
    return Sums(
        len(instruct),
        float(dot),
        float(norm_left),
        float(norm_right),
        float(difference),
        int(equal),
        int(opposed),
        float(largest),
    )


def _bits(tensor: Tensor) -> Bits16:
    return cast("Bits16", tensor.view(torch.int16).numpy().view(np.uint16))


@_compiled
def _blend(
    instruct: Bits16, thinking: Bits16, weights: NDArray[np.float32], out: Bits16, stride: int
) -> bool:
    """Write a row of `out` for each row `(q-p, p, q)` of `weights`; return whether all inputs are finite."""
    left_bits = np.empty(_CHUNK, np.uint32)
    right_bits = np.empty(_CHUNK, np.uint32)
    mean_bits = np.empty(_CHUNK, np.uint32)
    left = left_bits.view(np.float32)
    right = right_bits.view(np.float32)
    mean = mean_bits.view(np.float32)
    widen, odd, half = np.uint32(16), np.uint32(1), np.uint32(0x7FFF)
    exponent = np.uint32(0x7F800000)
    broken = np.uint32(0)
    for start in range(0, len(instruct), _CHUNK):
        size = min(_CHUNK, len(instruct) - start)
        instruct_part = instruct[start : start + size]
        thinking_part = thinking[start : start + size]
        for i in range(size):
            left_bits[i] = np.uint32(instruct_part[i]) << widen
            right_bits[i] = np.uint32(thinking_part[i]) << widen
            broken |= np.uint32((left_bits[i] & exponent) == exponent)
            broken |= np.uint32((right_bits[i] & exponent) == exponent)
        for k in range(len(weights)):
            weight_left, weight_right, total = weights[k, 0], weights[k, 1], weights[k, 2]
            row = out[k * stride + start : k * stride + start + size]
            for i in range(size):
                mean[i] = (weight_left * left[i] + weight_right * right[i]) / total
            for i in range(size):  # to nearest, ties to even
                row[i] = (mean_bits[i] + half + ((mean_bits[i] >> widen) & odd)) >> widen
    return bool(broken == 0)


@_compiled
def _sums(instruct: Bits16, thinking: Bits16) -> tuple[float, float, float, float, int, int, float]:
    """Return the fields of `Sums` after the first; float64 sums, by lane within a chunk, then over chunks."""
    left_bits = np.empty(_LANES, np.uint32)
    right_bits = np.empty(_LANES, np.uint32)
    left, right = left_bits.view(np.float32), right_bits.view(np.float32)
    lanes = np.empty((4, _LANES), np.float64)
    dots, instructs, thinkings, gaps = lanes[0], lanes[1], lanes[2], lanes[3]
    total = np.zeros(4, np.float64)
    counts = np.zeros((2, _LANES), np.uint32)
    equals, opposites = counts[0], counts[1]
    magnitude, sign = np.uint32(0x7FFFFFFF), np.uint32(31)
    largest = np.zeros(_LANES, np.float64)
    widen = np.uint32(16)
    for start in range(0, len(instruct), CHUNK_ELEMENTS):
        stop = min(start + CHUNK_ELEMENTS, len(instruct))
        lanes[:] = 0
        for first in range(start, stop, _LANES):
            size = min(_LANES, stop - first)
            instruct_part = instruct[first : first + size]
            thinking_part = thinking[first : first + size]
            for i in range(size):
                left_bits[i] = np.uint32(instruct_part[i]) << widen
                right_bits[i] = np.uint32(thinking_part[i]) << widen
            for i in range(size):
                anything = ((left_bits[i] & magnitude) != 0) & ((right_bits[i] & magnitude) != 0)
                zeros = ((left_bits[i] | right_bits[i]) & magnitude) == 0  # of either sign
                equals[i] += np.uint32((left_bits[i] == right_bits[i]) | zeros)
                opposites[i] += (left_bits[i] ^ right_bits[i]) >> sign & np.uint32(anything)
            for i in range(size):
                x, y = np.float64(left[i]), np.float64(right[i])
                gap = abs(y - x)
                largest[i] = gap if gap > largest[i] else largest[i]  # max() is not vectorised
                dots[i] += x * y
                instructs[i] += x * x
                thinkings[i] += y * y
                gaps[i] += (y - x) * (y - x)
        for j in range(4):
            part = 0.0
            for i in range(_LANES):
                part += lanes[j, i]
            total[j] += part
    most = 0.0
    for i in range(_LANES):
        most = max(most, largest[i])
    return total[0], total[1], total[2], total[3], equals.sum(), opposites.sum(), most
