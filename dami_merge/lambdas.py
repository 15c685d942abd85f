"""λ as an exact fraction: parsing, naming, nearest member of a grid.

λ = 0 is the Instruct model (System 1), λ = 1 the Thinking model (System 2). `0.3` is 3/10 and never
the binary float beside it: the numerics depend on it, and so do file names and ties.
Knows nothing of files or tensors.
"""

import itertools
import math
import numbers
import re
from collections.abc import Iterable
from fractions import Fraction

from dami_merge.errors import LambdaError

MAX_DENOMINATOR = 4096
"""12 bits of weight times the 11 bits of a float16 stay exact in a float32 product."""

DEFAULT_STEPS = 10

_HUGE_EXPONENT = re.compile(r"[eE][+-]?[0-9_]{4}")


def parse_lambda(value: str | float | Fraction) -> Fraction:
    """Read one λ exactly.

    Args:
        value: `"0.3"`, `"3/10"`, an int, a Fraction, or a float, which is read as the shortest decimal
            that denotes it: the float 0.3 is 3/10.

    Returns:
        The fraction, in lowest terms.

    Raises:
        LambdaError: It is not a number, not in [0, 1], or its denominator is above 4096.

    Example:
        >>> parse_lambda("0.30"), parse_lambda("1/4"), parse_lambda(0.1)
        (Fraction(3, 10), Fraction(1, 4), Fraction(1, 10))
    """
    lam = exact(value)
    if lam.denominator > MAX_DENOMINATOR:
        raise LambdaError(
            f"λ = {value} is {lam}, finer than 1/{MAX_DENOMINATOR}",
            hint=f"16-bit weights cannot tell it from {lam.limit_denominator(1000)}",
        )
    return lam


def exact(value: str | float | Fraction) -> Fraction:
    """Like `parse_lambda`, for a λ that is asked for but not materialised: of any denominator.

    Raises:
        LambdaError: It is not a finite number in [0, 1].
    """
    try:
        lam = _fraction(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise LambdaError(f"λ = {value!r} is not a number", hint="write 0.3, 3/10 or 1") from error
    if not 0 <= lam <= 1:
        raise LambdaError(
            f"λ = {value} is outside [0, 1]", hint="0 is the Instruct model, 1 the Thinking model"
        )
    return lam


def _fraction(value: object) -> Fraction:
    if isinstance(value, bool):
        raise TypeError("a bool is not a number here")
    if isinstance(value, str):
        if _HUGE_EXPONENT.search(value):
            raise ValueError("its exponent alone would fill the memory")
        return Fraction(value.strip())
    if isinstance(value, numbers.Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise ValueError("not finite")
        return Fraction(repr(float(value)))
    raise TypeError(f"{type(value).__name__} is not a number")


def parse_lambdas(text: str) -> tuple[Fraction, ...]:
    """Read a list such as `0,1/4,1/2,3/4,1`; the result is sorted.

    Raises:
        LambdaError: It is empty, a member is not a λ, or a λ is given twice.
    """
    return ordered(parse_lambda(part) for part in text.split(","))


def ordered(lambdas: Iterable[Fraction]) -> tuple[Fraction, ...]:
    """Sort a grid and refuse an empty one or a λ that is in it twice.

    Raises:
        LambdaError: See above.
    """
    grid = sorted(lambdas)
    if not grid:
        raise LambdaError("the grid has no λ", hint="give at least one, such as --lambdas 0.5")
    for left, right in itertools.pairwise(grid):
        if left == right:
            raise LambdaError(f"λ = {label(left)} is given twice")
    return tuple(grid)


def even_grid(steps: int) -> tuple[Fraction, ...]:
    """The `steps + 1` values 0, 1/steps, …, 1.

    Raises:
        LambdaError: `steps` is below 1 or above 4096.
    """
    if not 1 <= steps <= MAX_DENOMINATOR:
        raise LambdaError(f"{steps} steps: must be from 1 to {MAX_DENOMINATOR}")
    return tuple(Fraction(k, steps) for k in range(steps + 1))


def label(lam: Fraction) -> str:
    """λ as people write it: `0.30`, `0.375`, or `1of3` where no decimal ends.

    Two digits at least, so that the names of the default grid sort as their values do.

    Example:
        >>> label(Fraction(3, 10)), label(Fraction(3, 8)), label(Fraction(1, 3))
        ('0.30', '0.375', '1of3')
    """
    digits = 2
    while 10**digits % lam.denominator:
        digits += 1
        if digits > MAX_DENOMINATOR.bit_length():
            return f"{lam.numerator}of{lam.denominator}"
    whole, part = divmod(lam.numerator * 10**digits // lam.denominator, 10**digits)
    return f"{whole}.{part:0{digits}d}"


def fraction_text(lam: Fraction) -> str:
    """λ as files write it: `3/10`, `0/1`, `1/1`."""
    return f"{lam.numerator}/{lam.denominator}"


def folder_name(lam: Fraction) -> str:
    """The name of the checkpoint's folder: `lambda-0.30`."""
    return f"lambda-{label(lam)}"


def require_available(
    wanted: Iterable[Fraction], available: Iterable[Fraction], *, where: str = "this grid", hint: str = ""
) -> None:
    """Refuse λ that are not available.

    Args:
        wanted: The λ that are asked for.
        available: The λ that exist.
        where: What lacks them, for the message.
        hint: A way out beside the λ that are available.

    Raises:
        LambdaError: With every λ that is missing.
    """
    there = sorted(set(available))
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise LambdaError(
            f"λ = {', '.join(map(label, missing))} is not in {where}",
            hint=f"available: {', '.join(map(label, there))}" + (f"; {hint}" if hint else ""),
        )


def nearest(wanted: Fraction, available: Iterable[Fraction]) -> Fraction:
    """The member nearest to `wanted`; of two equally near, the smaller.

    Raises:
        LambdaError: `available` is empty.
    """
    members = sorted(available)
    if not members:
        raise LambdaError("no λ is available", hint="`available` must name a member of the grid")
    return min(members, key=lambda lam: (abs(lam - wanted), lam))
