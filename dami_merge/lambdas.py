"""λ as an exact fraction: parsing, naming, nearest member of a grid.

λ = 0 is the Instruct model (System 1), λ = 1 the Thinking model (System 2). `0.3` is 3/10 and never
the nearest binary float: the numerics, file names and ties depend on the exact value.
Knows nothing about files or tensors.
"""

import itertools
import math
import numbers
import re
from collections.abc import Iterable
from fractions import Fraction

from dami_merge.errors import LambdaError

MAX_DENOMINATOR = 4096
"""A 12-bit weight times the 11-bit mantissa of a float16 is exact in float32."""

DEFAULT_STEPS = 10

_HUGE_EXPONENT = re.compile(r"[eE][+-]?[0-9_]{4}")


def parse_lambda(value: str | float | Fraction) -> Fraction:
    """Parse one λ exactly.

    Args:
        value: `"0.3"`, `"3/10"`, an int, a Fraction, or a float. A float is read as the shortest decimal
            that round-trips to it: the float 0.3 is 3/10.

    Returns:
        The fraction, in lowest terms.

    Raises:
        LambdaError: `value` is not a number, not in [0, 1], or has a denominator above 4096.

    Example:
        >>> parse_lambda("0.30"), parse_lambda("1/4"), parse_lambda(0.1)
        (Fraction(3, 10), Fraction(1, 4), Fraction(1, 10))
    """
    lam = exact(value)
    if lam.denominator > MAX_DENOMINATOR:
        raise LambdaError(
            f"λ = {value} is {lam}, finer than 1/{MAX_DENOMINATOR}",
            hint=f"use {lam.limit_denominator(1000)}: 16-bit weights cannot tell the two apart",
        )
    return lam


def nearest_computable(value: str | float | Fraction) -> Fraction:
    """Parse a λ to compute weights at: like `parse_lambda`, but a finer λ becomes the nearest that is not.

    Args:
        value: λ as `parse_lambda` takes it, such as the λ that an estimator wants.

    Returns:
        The fraction nearest to the exact value whose denominator is at most 4096: the value itself if its own
        is. It is off by at most 1/8192.

    Raises:
        LambdaError: `value` is not a finite number in [0, 1].

    Example:
        >>> nearest_computable("3/10"), nearest_computable(0.3712345678)
        (Fraction(3, 10), Fraction(875, 2357))
    """
    return exact(value).limit_denominator(MAX_DENOMINATOR)


def exact(value: str | float | Fraction) -> Fraction:
    """Parse a λ that is requested but not materialised: like `parse_lambda`, with any denominator.

    Raises:
        LambdaError: `value` is not a finite number in [0, 1].
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
        raise TypeError("a bool is not accepted as a number")
    if isinstance(value, str):
        if _HUGE_EXPONENT.search(value):
            raise ValueError("the exponent is too large to expand in memory")
        return Fraction(value.strip())
    if isinstance(value, numbers.Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise ValueError("not finite")
        return Fraction(repr(float(value)))
    raise TypeError(f"{type(value).__name__} is not a number")


def parse_lambdas(text: str) -> tuple[Fraction, ...]:
    """Parse a list such as `0,1/4,1/2,3/4,1`; the result is sorted.

    Raises:
        LambdaError: The list is empty, a member is not a valid λ, or a λ is duplicated.
    """
    return ordered(parse_lambda(part) for part in text.split(","))


def ordered(lambdas: Iterable[Fraction]) -> tuple[Fraction, ...]:
    """Sort a grid.

    Raises:
        LambdaError: The grid is empty, or a λ is duplicated.
    """
    grid = sorted(lambdas)
    if not grid:
        raise LambdaError("the grid has no λ", hint="pass at least one, such as --lambdas 0.5")
    for left, right in itertools.pairwise(grid):
        if left == right:
            raise LambdaError(f"duplicate λ = {label(left)}")
    return tuple(grid)


def even_grid(steps: int) -> tuple[Fraction, ...]:
    """Return the `steps + 1` values 0, 1/steps, …, 1.

    Raises:
        LambdaError: `steps` is below 1 or above 4096.
    """
    if not 1 <= steps <= MAX_DENOMINATOR:
        raise LambdaError(f"the number of steps must be from 1 to {MAX_DENOMINATOR}, not {steps}")
    return tuple(Fraction(k, steps) for k in range(steps + 1))


def label(lam: Fraction) -> str:
    """Format λ for names and tables: `0.30`, `0.375`, or `1of3` if its decimal does not terminate.

    At least two digits, so that the names in the default grid sort in the order of their values.

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
    """Format λ as files store it: `3/10`, `0/1`, `1/1`."""
    return f"{lam.numerator}/{lam.denominator}"


def folder_name(lam: Fraction) -> str:
    """Return the name of the checkpoint's folder: `lambda-0.30`."""
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
    """Return the member nearest to `wanted`; of two equally near, the smaller.

    Raises:
        LambdaError: `available` is empty.
    """
    members = sorted(available)
    if not members:
        raise LambdaError("no λ is available", hint="`available` must name at least one λ of the grid")
    return min(members, key=lambda lam: (abs(lam - wanted), lam))
