r"""The exact value of a written number: `-1.50`, `3/4`, `1\frac12`, `1.2\times 10^{3}`, `0.\overline{3}`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MOST_DIGITS = 4000
"""Longer numbers and larger exponents have no value here: Python converts no more than 4300 digits."""

ROUNDED_PLACES = 6
ROUNDED_DIGITS = 5

_UNSIGNED = r"(?:\d+\.?\d*|\.\d+)"
_PART = rf"(?:\{{\s*([+-]?{_UNSIGNED})\s*\}}|\s*(\d))"
_FRACTION = re.compile(rf"(\d*)\s*\\frac{_PART}{_PART}")
_SLASH = re.compile(rf"\(?({_UNSIGNED})\)?\s*/\s*\(?({_UNSIGNED})\)?")
_TENS = re.compile(rf"(?:({_UNSIGNED})\s*\\times\s*)?10\s*\^\s*(?:\{{\s*([+-]?\d+)\s*\}}|(\d))")
_RECURRING = re.compile(r"(\d*)\.(\d*)(?:\\overline\{(\d+)\}|\\dot\{?(\d)\}?|\((\d+)\))")
_SIGNED = re.compile(r"\s*([+-]?)\s*(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Numeral:
    """The value of a written number.

    Attributes:
        value: The exact value.
        places: Decimal places written; None if it is not written as a decimal.
    """

    value: Fraction
    places: int | None


def numeral(text: str) -> Numeral | None:
    r"""Read a number; None for anything else.

    Example:
        >>> numeral(r"1\frac{1}{2}").value, numeral("2x")
        (Fraction(3, 2), None)
    """
    match = _SIGNED.fullmatch(text)
    if match is None or len(text) > MOST_DIGITS:
        return None
    found = _unsigned(match[2].strip())
    return Numeral(-found.value, found.places) if found is not None and match[1] == "-" else found


def same_number(one: Numeral, other: Numeral) -> bool:
    """Compare exactly; a decimal also equals the fraction of which it is a rounding.

    Such a decimal needs six places and five significant digits: 0.333333 is 1/3, but 0.33 is not.
    """
    if one.value == other.value:
        return True
    if (one.places is None) == (other.places is None):
        return False
    places = one.places or other.places or 0
    unit = Fraction(1, 10**places)
    near = abs(one.value - other.value) < unit
    return near and places >= ROUNDED_PLACES and abs(one.value) >= unit * 10 ** (ROUNDED_DIGITS - 1)


def _unsigned(text: str) -> Numeral | None:
    if re.fullmatch(_UNSIGNED, text):
        return Numeral(Fraction(text.rstrip(".")), len(text.partition(".")[2]) if "." in text else 0)
    for pattern, value in _FORMS:
        if match := pattern.fullmatch(text):
            return value(match)
    return None


def _mixed(match: re.Match[str]) -> Numeral | None:
    whole, *parts = match.groups()
    above, below = Fraction(parts[0] or parts[1]), Fraction(parts[2] or parts[3])
    if below == 0 or (whole and (above < 0 or below < 0)):
        return None
    return Numeral(int(whole or 0) + above / below, None)


def _slashed(match: re.Match[str]) -> Numeral | None:
    above, below = map(Fraction, match.groups())
    return Numeral(above / below, None) if below else None


def _raised(match: re.Match[str]) -> Numeral | None:
    digits = match[2] or match[3]
    if len(digits) > 5 or abs(int(digits)) > MOST_DIGITS:
        return None
    return Numeral(Fraction(match[1] or 1) * Fraction(10) ** int(digits), 0)


def _recurring(match: re.Match[str]) -> Numeral:
    whole, fixed, again = match[1], match[2], next(part for part in match.groups()[2:] if part)
    first = Fraction(int(whole + fixed or 0), 10 ** len(fixed))
    return Numeral(first + Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(fixed)), None)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Numeral | None]], ...] = (
    (_FRACTION, _mixed),
    (_SLASH, _slashed),
    (_TENS, _raised),
    (_RECURRING, _recurring),
)
