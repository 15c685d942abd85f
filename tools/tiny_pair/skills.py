"""The skills that the pair learns: questions, answers, and traces that lead there.

Knows texts only: nothing of tokens, models or how much of anything is trained on. Every answer is one digit.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LABELS = "abcdefgh"
CHECK = "W"
"""What stands between a trace and its check."""


class Skill(Protocol):
    """One skill at several sizes.

    A trace is written once; a check goes over it again and repeats its states.
    """

    @property
    def name(self) -> str:
        """First half of a question's group."""

    @property
    def sizes(self) -> Sequence[int]:
        """The sizes there are, ascending."""

    def question(self, rng: random.Random, size: int) -> str:
        """A question of this size."""

    def answer(self, question: str) -> str:
        """The correct answer."""

    def hasty(self, question: str) -> str:
        """What Instruct learns to answer at once: the correct answer, or that of a short-cut."""

    def trace(self, question: str) -> tuple[str, str]:
        """The steps written out, and the check that may follow."""

    def parts(self, question: str) -> list[str]:
        """The question cut where a separator may stand."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Left-to-right arithmetic modulo 10: `7a-3b*3c-2`.

    With `reset`, the last step but one sets the value, so that a long question is a short one: `7a-3b=4c-2`.
    """

    name: str = "chain"
    sizes: Sequence[int] = range(1, 8)
    reset: bool = False

    def question(self, rng: random.Random, size: int) -> str:
        """A digit and steps; a quarter of them multiply, by a number that can be undone modulo 10."""
        text = str(rng.randrange(10))
        for place, label in enumerate(LABELS[:size]):
            if self.reset and place == size - 2:
                text += f"{label}={rng.randrange(10)}"
            elif rng.random() < 0.25:
                text += f"{label}*{rng.choice('379')}"
            else:
                text += f"{label}{rng.choice('+-')}{rng.randint(1, 9)}"
        return text

    def answer(self, question: str) -> str:
        """The value after the last step."""
        return str(_values(question)[-1])

    def hasty(self, question: str) -> str:
        """The correct answer."""
        return self.answer(question)

    def trace(self, question: str) -> tuple[str, str]:
        """Label, operator, operand and new value of every step; the check has labels and values."""
        first, *steps = self.parts(question)
        values = _values(question)[1:]
        written = "".join(f"{step}{value}" for step, value in zip(steps, values, strict=True))
        again = "".join(f"{step[0]}{value}" for step, value in zip(steps, values, strict=True))
        return f"{first}{written}", f"{first}{again}"

    def parts(self, question: str) -> list[str]:
        """The start and every step of three characters."""
        return [question[0], *(question[place : place + 3] for place in range(1, len(question), 3))]


def _values(question: str) -> list[int]:
    values = [int(question[0])]
    for place in range(2, len(question), 3):
        operator, number = question[place], int(question[place + 1])
        if operator == "*":
            values.append(values[-1] * number % 10)
        elif operator == "=":
            values.append(number)
        else:
            values.append((values[-1] + (number if operator == "+" else -number)) % 10)
    return values


@dataclass(frozen=True, slots=True)
class Hops:
    """Follow pointers: `#CcGgAa0…`, from C to G to A to 0.

    Always eight pairs, three digits and five letters, in any order: the number of hops does not show.
    """

    name: str = "hops"
    sizes: Sequence[int] = range(1, 5)

    def question(self, rng: random.Random, size: int) -> str:
        """A path of `size` hops; the other letters point at the other digits."""
        labels = rng.sample(LABELS, 8)
        path, others = labels[:size], labels[size:]
        targets = dict(zip(path, [*path[1:], str(rng.randrange(10))], strict=True))
        ends = others[:2]
        for label in others:
            targets[label] = str(rng.randrange(10)) if label in ends else rng.choice(ends)
        order = rng.sample(labels, 8)
        return f"#{path[0].upper()}" + "".join(f"{label}{targets[label].upper()}" for label in order)

    def answer(self, question: str) -> str:
        """The digit at the end of the path."""
        return self._path(question)[-1]

    def hasty(self, question: str) -> str:
        """The correct answer."""
        return self.answer(question)

    def trace(self, question: str) -> tuple[str, str]:
        """Every pair on the path; the check is the same again."""
        text = "".join(self._path(question))
        return text, text

    def parts(self, question: str) -> list[str]:
        """The start and every pair."""
        return [question[:2], *(question[place : place + 2] for place in range(2, len(question), 2))]

    @staticmethod
    def _path(question: str) -> list[str]:
        targets = {question[place]: question[place + 1] for place in range(2, len(question), 2)}
        path, at = [], question[1]
        while not at.isdigit():
            path += [at.lower(), targets[at.lower()]]
            at = path[-1]
        return path


@dataclass(frozen=True, slots=True)
class Scan:
    """Go through labelled digits once; what is looked for depends on the sign in front.

    `^a4b7c1` the largest; `$a4b7c1` the second largest; `=7a4b7c1` how many are 7; `!5a4b7c1` how many
    exceed 5. Answered at once, the last takes a short-cut that is wrong where a digit equals the bound: it
    counts it.
    """

    name: str
    sign: str
    sizes: Sequence[int] = range(2, 9)

    def question(self, rng: random.Random, size: int) -> str:
        """Digits at random; of `=`, each is the wanted one with a probability of 0.4."""
        wanted = rng.randrange(10)
        digits = [rng.randrange(10) for _ in range(size)]
        if self.sign == "=":
            digits = [wanted if rng.random() < 0.4 else digit for digit in digits]
        head = f"{self.sign}{wanted}" if self.sign in "=!" else self.sign
        return head + "".join(f"{label}{digit}" for label, digit in zip(LABELS, digits, strict=False))

    def answer(self, question: str) -> str:
        """What is left of the last step."""
        return self._states(question)[-1][-1]

    def hasty(self, question: str) -> str:
        """For `!`, how many are at least the bound; else the correct answer."""
        if self.sign != "!":
            return self.answer(question)
        return str(sum(int(part[1]) >= int(question[1]) for part in self.parts(question)[1:]))

    def trace(self, question: str) -> tuple[str, str]:
        """Label, digit and state of every step; the check has labels and states."""
        steps, states = self.parts(question)[1:], self._states(question)
        written = "".join(f"{step}{state}" for step, state in zip(steps, states, strict=True))
        again = "".join(f"{step[0]}{state}" for step, state in zip(steps, states, strict=True))
        return written, again

    def parts(self, question: str) -> list[str]:
        """The sign with its digit, and every pair."""
        head = 2 if self.sign in "=!" else 1
        return [question[:head], *(question[place : place + 2] for place in range(head, len(question), 2))]

    def _states(self, question: str) -> list[str]:
        """The state after every step: a digit; for the second largest, the largest before it."""
        head, *pairs = self.parts(question)
        digits = [int(pair[1]) for pair in pairs]
        if self.sign == "^":
            return [str(max(digits[: place + 1])) for place in range(len(digits))]
        if self.sign == "$":
            tops = [sorted(digits[: place + 1])[-2:] for place in range(len(digits))]
            return ["".join(map(str, reversed(top))) if len(top) > 1 else f"{top[0]}-" for top in tops]
        wanted = int(head[1])
        hits = [digit == wanted if self.sign == "=" else digit > wanted for digit in digits]
        return [str(sum(hits[: place + 1])) for place in range(len(hits))]


@dataclass(frozen=True, slots=True)
class LookUp:
    """Find a label: `?cd4a7c1`."""

    name: str = "lookup"
    sizes: Sequence[int] = range(2, 9)

    def question(self, rng: random.Random, size: int) -> str:
        """Some labels in any order, each with a digit."""
        labels = rng.sample(LABELS, size)
        return f"?{rng.choice(labels)}" + "".join(f"{label}{rng.randrange(10)}" for label in labels)

    def answer(self, question: str) -> str:
        """The digit of the label."""
        return next(pair[1] for pair in self.parts(question)[1:] if pair[0] == question[1])

    def hasty(self, question: str) -> str:
        """The correct answer."""
        return self.answer(question)

    def trace(self, question: str) -> tuple[str, str]:
        """Every pair up to the wanted one, each with what was found; the check has labels and finds."""
        written = again = ""
        for pair in self.parts(question)[1:]:
            found = pair[1] if pair[0] == question[1] else "-"
            written, again = f"{written}{pair}{found}", f"{again}{pair[0]}{found}"
            if found != "-":
                break
        return written, again

    def parts(self, question: str) -> list[str]:
        """The sign with its label, and every pair."""
        return [question[:2], *(question[place : place + 2] for place in range(2, len(question), 2))]


SKILLS: tuple[Skill, ...] = (
    Chain(),
    Chain("reset", range(3, 8), reset=True),
    Hops(),
    Scan("largest", "^"),
    Scan("count", "="),
    Scan("exceed", "!"),
    Scan("second", "$"),
    LookUp(),
)
"""Every skill; `second` is the family that no split but `heldout` asks."""

BY_NAME = {skill.name: skill for skill in SKILLS}
