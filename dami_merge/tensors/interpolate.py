"""The interpolation itself: `round(((q-p)*a + p*b) / q)` for λ = p/q, rounded once to the stored dtype.

a and b are model weights; q-p and p are the integer coefficients. With integer coefficients the products of
16-bit floats are exact in float32, so fused multiply-add, vector width and device cannot change a bit, and
exact ties survive until the single rounding. float32 weights are computed in float64, float64 weights with
error-free transformations. The coefficients are scaled by a power of two so that no product overflows.
λ = 0 and λ = 1 are copies.

Exact means equal to the rational result rounded once to nearest, ties to even. This holds while the sum of
the two products fits the mantissa of the working dtype: for 16-bit weights, while the exponents of a and b
differ by no more than about 12. Beyond that, only results at a tie, or within 2**-11 units of one, can change
(by one unit in the last place, equally on every device). float64 weights below 2**-900 lose their last bits
to underflow. Source: ours; the paper gives the formula, not the numerics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

STEP_BYTES = 1 << 21
"""Bytes of one step's unrounded results on a CPU. Larger steps do not fit the core's caches, and smaller ones
spend more time on calls than on arithmetic: the fastest end to end of 2^17 to 2^23."""

_COMPENSATED_VECTORS = 32
"""Approximate number of step-sized vectors alive at once in the arithmetic for float64 inputs."""

_SIXTEEN_BITS = frozenset({torch.bfloat16, torch.float16})
_LOW_BITS = (1 << 27) - 1


def working_dtype(instruct: torch.dtype, thinking: torch.dtype, out: torch.dtype) -> torch.dtype:
    """Return the dtype in which results are computed before the single rounding: float32 or float64."""
    return torch.float32 if {instruct, thinking, out} <= _SIXTEEN_BITS else torch.float64


class Interpolate(Protocol):
    """The signature of `interpolate` and of every faster implementation; all give the same bits."""

    def __call__(
        self,
        instruct: Tensor,
        thinking: Tensor,
        lambdas: Sequence[Fraction],
        out: Tensor,
        nonfinite: Tensor | None = None,
    ) -> None:
        """See `interpolate`."""
        ...


def interpolate(
    instruct: Tensor,
    thinking: Tensor,
    lambdas: Sequence[Fraction],
    out: Tensor,
    nonfinite: Tensor | None = None,
) -> None:
    """Write Θ(λ) = λ·thinking + (1-λ)·instruct for every λ, reading both inputs once.

    Args:
        instruct: 1-D float tensor, shape [n].
        thinking: 1-D float tensor, shape [n], on the same device; its dtype may differ.
        lambdas: Ascending, one per row of `out`; may be empty.
        out: Float tensor, shape [len(lambdas), n], written in place; its rows need not be adjacent.
        nonfinite: Integer tensor, shape [1], on the same device: set to 1 if an input contains NaN or Inf,
            and left unchanged otherwise. The outputs are written in either case. None skips the check.

    Peak memory: about 3 MiB on a CPU; elsewhere n elements for every λ and both inputs, in float32 or
    float64.
    """
    working = working_dtype(instruct.dtype, thinking.dtype, out.dtype)
    compensated = torch.float64 in {instruct.dtype, thinking.dtype}
    inner, rows = copy_ends(instruct, thinking, lambdas, out)
    terms = _Terms.of(inner, working, instruct.device)
    step = _step_elements(len(inner), len(instruct), working, instruct.device, compensated=compensated)
    scratch = torch.empty(len(inner), 0 if compensated else step, dtype=working, device=instruct.device)
    for start in range(0, len(instruct) if inner else 0, step):
        part = slice(start, start + step)
        left, right = instruct[part].to(working), thinking[part].to(working)
        if compensated:
            for lam, row in zip(inner, rows, strict=True):
                _round_into(_compensated(left, right, lam, to_odd=out.dtype != torch.float64), row[part])
        else:
            _round_into(terms.mean(left, right, scratch[:, : len(left)]), rows[:, part])
    if nonfinite is not None:
        for side in (instruct, thinking):
            _note_nonfinite(side, nonfinite)


def copy_ends(
    instruct: Tensor, thinking: Tensor, lambdas: Sequence[Fraction], out: Tensor
) -> tuple[Sequence[Fraction], Tensor]:
    """Copy the inputs into the rows of λ = 0 and λ = 1, and return the λ and rows in between."""
    first, last = 0, len(lambdas)
    if first < last and lambdas[0] == 0:
        _round_into(instruct, out[0])
        first = 1
    if first < last and lambdas[-1] == 1:
        last -= 1
        _round_into(thinking, out[last])
    return lambdas[first:last], out[first:last]


def _step_elements(
    lambdas: int, elements: int, working: torch.dtype, device: torch.device, *, compensated: bool
) -> int:
    if device.type != "cpu":
        return max(elements, 1)
    vectors = _COMPENSATED_VECTORS if compensated else max(lambdas, 2)
    return max(STEP_BYTES // (vectors * working.itemsize), 1)


@dataclass(frozen=True, slots=True)
class _Terms:
    """The scaled integer coefficients of every λ = p/q: `q-p`, `p` and `q`, each of shape [k, 1]."""

    left: Tensor
    right: Tensor
    total: Tensor

    @classmethod
    def of(cls, lambdas: Sequence[Fraction], working: torch.dtype, device: torch.device) -> "_Terms":
        weights = [scaled_weights(lam) for lam in lambdas]
        columns = torch.tensor(weights, dtype=working, device=device).reshape(-1, 3)
        return cls(*(columns[:, k : k + 1] for k in range(3)))

    def mean(self, left: Tensor, right: Tensor, rows: Tensor) -> Tensor:
        """Write the weighted means into `rows`, shape [k, n].

        The divisor is a tensor: for a Python number, CUDA would multiply by its reciprocal.
        """
        torch.mul(left, self.left, out=rows)
        rows.addcmul_(right.expand_as(rows), self.right.expand_as(rows))
        return rows.div_(self.total)


def scaled_weights(lam: Fraction) -> tuple[float, float, float]:
    """Return `(q-p, p, q)`, scaled by the power of two that brings q into (1/2, 1]."""
    scale = 1 << (lam.denominator - 1).bit_length()
    return (
        (lam.denominator - lam.numerator) / scale,
        lam.numerator / scale,
        lam.denominator / scale,
    )


def _compensated(left: Tensor, right: Tensor, lam: Fraction, *, to_odd: bool) -> Tensor:
    """Weighted mean of float64 tensors as if computed in about 100 bits and rounded once.

    Rounds to nearest, or to odd (`to_odd`) if a rounding to a narrower dtype follows.
    """
    weight_left, weight_right, total = scaled_weights(lam)
    left_high, left_low = _split(left)
    right_high, right_low = _split(right)
    high, error = _two_sum(left_high * weight_left, right_high * weight_right)
    low = left_low * weight_left + right_low * weight_right
    high, low = _two_sum(high, error + low)
    divisor = torch.full((1,), total, dtype=high.dtype, device=high.device)
    quotient = high / divisor
    quotient_high, quotient_low = _split(quotient)
    remainder = (high - quotient_high * divisor) - quotient_low * divisor
    result, rest = _two_sum(quotient, (remainder + low) / divisor)
    if to_odd:
        result = _odd(result, away=(rest < 0) ^ (result < 0), inexact=rest != 0)
    plain = (left * weight_left + right * weight_right) / divisor
    return torch.where(torch.isfinite(result) & (result != 0), result, plain)


def _split(value: Tensor) -> tuple[Tensor, Tensor]:
    """Split float64 values into two parts of at most 27 bits each whose sum is exact."""
    high = (value.view(torch.int64) & ~_LOW_BITS).view(torch.float64)
    return high, value - high


def _two_sum(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rounded sum and its exact error (Knuth's two-sum)."""
    total = left + right
    shadow = total - left
    return total, (left - (total - shadow)) + (right - shadow)


def _round_into(value: Tensor, out: Tensor) -> None:
    """Write `value` into `out`, rounded once to its dtype."""
    if value.dtype == torch.float64 and out.dtype in _SIXTEEN_BITS:
        value = _to_odd_float32(value)  # torch would round twice: to float32, then to 16 bits
    out.copy_(value)


def _to_odd_float32(value: Tensor) -> Tensor:
    """Round float64 to odd float32, so that a second rounding gives the same result as a single one."""
    rounded = value.to(torch.float32)
    back = rounded.to(torch.float64)
    return _odd(rounded, away=back.abs() > value.abs(), inexact=back != value)


def _odd(rounded: Tensor, *, away: Tensor, inexact: Tensor) -> Tensor:
    """Turn results rounded to nearest into results rounded to odd; `away` marks those rounded away from 0."""
    bits = rounded.view(torch.int32 if rounded.dtype == torch.float32 else torch.int64)
    bits = bits - (away & inexact).to(bits.dtype) | inexact.to(bits.dtype)
    return bits.view(rounded.dtype)


def _note_nonfinite(values: Tensor, nonfinite: Tensor) -> None:
    """Set `nonfinite` if a value is NaN or Inf.

    On a CPU the sum is tested first, since it is finite only if all its terms are; other devices do not
    synchronise.
    """
    if values.device.type == "cpu":
        if not bool(torch.isfinite(values.sum())) and not bool(torch.isfinite(values).all()):
            nonfinite.fill_(1)
    else:
        nonfinite |= ~torch.isfinite(values).all()
