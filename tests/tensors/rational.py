"""IEEE 754 formats over exact rationals: an independent reference for every rounding in this package.

Written against the standard with `fractions.Fraction` alone; knows nothing of how `dami_merge` computes.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Format:
    """One binary floating-point format.

    Attributes:
        dtype: Its torch dtype.
        mantissa: Stored bits of the significand.
        exponent: Bits of the exponent.
    """

    dtype: torch.dtype
    mantissa: int
    exponent: int

    @property
    def width(self) -> int:
        return 1 + self.mantissa + self.exponent

    @property
    def least(self) -> int:
        """Exponent of the least normal number."""
        return 2 - (1 << (self.exponent - 1))

    @property
    def infinity(self) -> int:
        """Bits of +Inf; every pattern below it is finite."""
        return ((1 << self.exponent) - 1) << self.mantissa

    @property
    def minus(self) -> int:
        """The sign bit."""
        return 1 << (self.width - 1)


BF16 = Format(torch.bfloat16, 7, 8)
FP16 = Format(torch.float16, 10, 5)
FP32 = Format(torch.float32, 23, 8)
FP64 = Format(torch.float64, 52, 11)
FORMATS = {form.dtype: form for form in (BF16, FP16, FP32, FP64)}


def value_of(bits: int, form: Format) -> Fraction:
    """The rational that a finite pattern denotes."""
    magnitude = bits & (form.minus - 1)
    assert magnitude < form.infinity
    field, fraction = magnitude >> form.mantissa, magnitude & ((1 << form.mantissa) - 1)
    if field:
        fraction += 1 << form.mantissa
        field -= 1
    value = Fraction(fraction) * Fraction(2) ** (field + form.least - form.mantissa)
    return -value if bits & form.minus else value


def neighbours(value: Fraction, form: Format) -> tuple[int, Fraction]:
    """Magnitude bits of the next pattern towards zero, and the way from it to the one after, in [0, 1)."""
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    exponent = max(exponent, form.least)
    units = magnitude / Fraction(2) ** (exponent - form.mantissa)
    whole = units.numerator // units.denominator
    return ((exponent - form.least) << form.mantissa) + whole, units - whole


def rounded(value: Fraction, form: Format, *, minus_zero: bool = False) -> int:
    """Bits of `value` rounded once to nearest, ties to even; `minus_zero` is the sign of an exact zero."""
    if value == 0:
        return form.minus if minus_zero else 0
    down, rest = neighbours(value, form)
    up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and down % 2 == 1)
    return min(down + up, form.infinity) | (form.minus if value < 0 else 0)


def weighted_mean(left: int, right: int, lam: Fraction, sides: tuple[Format, Format], out: Format) -> int:
    """Bits of `(1-λ)·left + λ·right`, rounded once."""
    exact = (1 - lam) * value_of(left, sides[0]) + lam * value_of(right, sides[1])
    both_minus = bool(left & sides[0].minus) and bool(right & sides[1].minus)
    return rounded(exact, out, minus_zero=both_minus)


def significant_bits(value: Fraction) -> int:
    """Length of the binary significand of a dyadic rational."""
    odd = abs(value.numerator)
    return (odd // (odd & -odd)).bit_length() if odd else 0


def tensor_of(bits: list[int], form: Format) -> Tensor:
    """A 1-D tensor with these patterns."""
    unsigned = np.array(bits, dtype=f"uint{form.width}")
    return torch.from_numpy(unsigned.view(f"int{form.width}")).view(form.dtype)


def bits_of(values: Tensor) -> list[int]:
    """The patterns of a 1-D tensor."""
    width = FORMATS[values.dtype].width
    signed = {16: torch.int16, 32: torch.int32, 64: torch.int64}[width]
    return [bits % (1 << width) for bits in values.cpu().view(signed).tolist()]
