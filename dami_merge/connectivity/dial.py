"""A dial or a switch: how what the model begins to write changes with λ.

A loss on given texts and the hidden states of these texts cannot show a switch: they are measured on words
that somebody else chose. What the model itself would write first can show it. Values and the verdict on them;
knows neither models nor torch. Source of the measure and of all limits: ours.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

WIDTH = Fraction(1, 10)
"""Distance of neighbouring λ in the usual grid of eleven, within which a switch is looked for."""

SWITCH = 1 / 3
"""Largest part of the whole change that a dial may make within `WIDTH`. Calibrated on pairs whose answers
were sampled at every λ; the room's README has the table."""

FINEST = Fraction(1, 40)
"""Distance of two λ below which a switch is not located more precisely."""

LEAST_APART = 0.25
"""Mean distance of the two models' next tokens below which they begin too much alike to tell."""

LEAST_PROMPTS = 8
"""Number of prompts below which nothing is concluded."""

DialKind = Literal["dial", "switch", "unclear"]


@dataclass(frozen=True, slots=True)
class Start:
    """How the answers to one prompt begin.

    The two models are compared at the first token at which their greedy answers part; if these do not part
    within a few tokens, at the very first token.

    Attributes:
        number: Index of the prompt among the texts, from 0.
        shared: What both models write before they part; empty if they part at the first token.
        instruct: Most likely next token of Instruct, as text.
        thinking: Most likely next token of Thinking, as text.
        apart: Total variation distance of the two models' distributions of the next token, 0 to 1.
        shares: For each λ, the probability of the tokens that are likelier in Thinking than in Instruct.
        greedy: For each λ, whether the most likely token is one of these.
    """

    number: int
    shared: str
    instruct: str
    thinking: str
    apart: float
    shares: tuple[float, ...]
    greedy: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class ShortAnswers:
    """Short greedy answers to one prompt.

    Attributes:
        number: Index of the prompt among the texts, from 0.
        texts: The answer at each λ of the walk, with special tokens.
        like_thinking: For each λ, whether the answer agrees for more tokens with Thinking's than with
            Instruct's; None where it agrees equally long with both.
    """

    number: int
    texts: tuple[str, ...]
    like_thinking: tuple[bool | None, ...]


@dataclass(frozen=True, slots=True)
class Rise:
    """The stretch of λ, at most `WIDTH` long, that holds the largest part of the change.

    Attributes:
        start: λ at which the stretch begins.
        stop: λ at which it ends.
        part: Part of the whole change from λ = 0 to λ = 1 that it holds; above 1 if the path overshoots.
    """

    start: Fraction
    stop: Fraction
    part: float


@dataclass(frozen=True, slots=True)
class Dial:
    """What the model begins to write along the path.

    Attributes:
        lambdas: λ at which first tokens were measured, ascending: those of the walk, and some in between
            where a switch was located.
        starts: One for each prompt.
        temperature: Temperature at which the probabilities hold.
        written: Short greedy answers, if they were asked for.
        written_lambdas: λ of these answers, ascending.
    """

    lambdas: tuple[Fraction, ...]
    starts: tuple[Start, ...]
    temperature: float
    written: tuple[ShortAnswers, ...] = ()
    written_lambdas: tuple[Fraction, ...] = ()

    @property
    def share(self) -> tuple[float, ...]:
        """For each λ, the mean over the prompts of the probability to begin as Thinking does."""
        return tuple(
            sum(each) / len(self.starts)
            for each in zip(*(start.shares for start in self.starts), strict=True)
        )

    @property
    def apart(self) -> float:
        """Mean total variation distance of the two models' next tokens."""
        return sum(start.apart for start in self.starts) / len(self.starts)

    @property
    def steepest(self) -> Rise:
        """Where the share changes most within `WIDTH`."""
        return steepest(self.lambdas, self.share)

    @property
    def curve(self) -> tuple[tuple[Fraction, ...], tuple[float, ...]]:
        """The λ and the share that decide: of the first tokens, or else of the short answers."""
        if self.by_answers:
            return self.written_lambdas, self.written_share
        return self.lambdas, self.share

    @property
    def decisive(self) -> Rise:
        """Where the deciding share changes most within `WIDTH`."""
        return steepest(*self.curve)

    @property
    def span(self) -> tuple[Fraction, Fraction]:
        """The smallest λ with a tenth of the change, and with nine tenths; outside, λ changes little."""
        low, high = self.share[0], self.share[-1]
        first, last = (_reached(self.lambdas, self.share, low + (high - low) * part) for part in (0.1, 0.9))
        return first, last

    @property
    def turns(self) -> tuple[Fraction | None, ...]:
        """For each prompt, the smallest λ from which on its greedy choice stays Thinking's; None if none."""
        places = [_flip(start.greedy) for start in self.starts]
        return tuple(None if place is None else self.lambdas[place] for place in places)

    @property
    def flips(self) -> tuple[int, ...]:
        """For each λ but the first, the number of prompts that turn there; see `turns`."""
        return tuple(self.turns.count(lam) for lam in self.lambdas[1:])

    def flips_within(self, rise: Rise) -> int:
        """Count the prompts whose greedy choice becomes Thinking's within a stretch."""
        steps = zip(itertools.pairwise(self.lambdas), self.flips, strict=True)
        return sum(count for (low, high), count in steps if rise.start <= low and high <= rise.stop)

    @property
    def written_share(self) -> tuple[float, ...]:
        """For each λ of the short answers, the share that agrees longer with Thinking's than with Instruct's.

        Empty if no prompt got two different answers from the two models. A tie counts half.
        """
        told = [each for each in self.written if each.texts[0] != each.texts[-1]]
        if not told:
            return ()
        return tuple(
            sum(0.5 if like is None else like for like in likes) / len(told)
            for likes in zip(*(each.like_thinking for each in told), strict=True)
        )

    @property
    def by_first_token(self) -> bool:
        """Whether the first tokens differ enough to tell a dial from a switch."""
        return len(self.starts) >= LEAST_PROMPTS and self.apart >= LEAST_APART

    @property
    def by_answers(self) -> bool:
        """Whether the short answers, and not the first tokens, tell a dial from a switch."""
        share = self.written_share
        enough = sum(each.texts[0] != each.texts[-1] for each in self.written) >= LEAST_PROMPTS
        return not self.by_first_token and bool(share) and enough

    @property
    def kind(self) -> DialKind:
        """`switch` if more than `SWITCH` of the change lies within `WIDTH`, else `dial`.

        `unclear` if there are too few prompts, or the two models begin too much alike.
        """
        if not self.by_first_token and not self.by_answers:
            return "unclear"
        rise = self.decisive
        if rise.part <= SWITCH:
            return "dial"
        too_coarse = self.by_answers and rise.stop - rise.start > WIDTH  # first tokens are measured again
        return "unclear" if too_coarse else "switch"

    @property
    def next_lambda(self) -> Fraction | None:
        """The λ to measure next in order to locate a switch; None if there is none, or it is located."""
        if not self.by_first_token:
            return None
        whole = self.share[-1] - self.share[0]
        for (low, left), (high, right) in itertools.pairwise(zip(self.lambdas, self.share, strict=True)):
            if abs(right - left) > SWITCH * whole and high - low > FINEST:
                return Fraction(round((low + high) / 2 * 1000), 1000)
        return None


def steepest(lambdas: Sequence[Fraction], share: Sequence[float]) -> Rise:
    """Find the stretch that holds the largest part of the change; between two λ the share is a straight line.

    Args:
        lambdas: Two or more λ, ascending.
        share: The share at each.

    Returns:
        A stretch that is `WIDTH` long; where two neighbouring λ are further apart, what lies between them
        could be anywhere: the stretch is then their whole interval if this holds more than `SWITCH`.

    Example:
        >>> tenths = [Fraction(each, 10) for each in range(11)]
        >>> rise = steepest(tenths, [0, 0, 0, 0.1, 0.8, 1, 1, 1, 1, 1, 1])
        >>> str(rise.start), str(rise.stop), round(rise.part, 2)
        ('3/10', '2/5', 0.7)
    """
    whole = abs(share[-1] - share[0])
    if not whole:
        return Rise(lambdas[0], lambdas[0], 0.0)
    wide = [
        Rise(low, high, abs(right - left) / whole)
        for (low, left), (high, right) in itertools.pairwise(zip(lambdas, share, strict=True))
        if high - low > WIDTH
    ]
    worst = max(wide, key=lambda rise: rise.part, default=None)
    if worst is not None and worst.part > SWITCH:
        return worst
    begins = {*lambdas, *(max(lam - WIDTH, lambdas[0]) for lam in lambdas)}
    rises = []
    for begin in sorted(begins):
        end = min(begin + WIDTH, lambdas[-1])
        change = abs(share_at(lambdas, share, end) - share_at(lambdas, share, begin))
        rises.append(Rise(begin, end, change / whole))
    return max(rises, key=lambda rise: rise.part)


def share_at(lambdas: Sequence[Fraction], share: Sequence[float], lam: Fraction) -> float:
    """Return the share at any λ of the path, on a straight line between two measured ones."""
    for (low, left), (high, right) in itertools.pairwise(zip(lambdas, share, strict=True)):
        if low <= lam <= high:
            return left + (right - left) * float((lam - low) / (high - low))
    raise AssertionError(f"{lam} lies outside the path")


def _reached(lambdas: Sequence[Fraction], share: Sequence[float], value: float) -> Fraction:
    """Return the smallest λ, to a hundredth, at which the share is as large as the value."""
    for (low, left), (high, right) in itertools.pairwise(zip(lambdas, share, strict=True)):
        if right >= value:
            part = (value - left) / (right - left) if right > left else 0.0
            return Fraction(round((low + (high - low) * Fraction(max(part, 0.0))) * 100), 100)
    return lambdas[-1]


def _flip(greedy: Sequence[bool]) -> int | None:
    """Return the index of the first λ from which the choice stays Thinking's; None if it never changes."""
    if greedy[0] or not greedy[-1]:
        return None
    return len(greedy) - list(reversed(greedy)).index(False)
