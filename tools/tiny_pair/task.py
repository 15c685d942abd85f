"""What is asked: cells of one skill and size, responses of one effort, and which questions are held out.

Knows texts only: nothing of tokens, models or how much of anything is trained on.
"""

import hashlib
import random
from dataclasses import dataclass
from enum import IntEnum

from tiny_pair.skills import BY_NAME, CHECK

SEPARATOR = ";"
"""What a paraphrase puts between the parts of a question: it changes nothing but the text."""

_TOO_FEW = {"chain-1"}
"""Cells with too few questions to hold some out: 210."""


class Effort(IntEnum):
    """How much a response writes before its answer; the example answers `7a-3b*3c-2`.

    DIRECT   `0`
    FULL     `<think>7a-34b*32c-20</think>0`: label, operator, operand and new value of every step
    CHECKED  `<think>7a-34b*32c-20W7a4b2c0</think>0`: the same, then every value once more
    """

    DIRECT = 0
    FULL = 1
    CHECKED = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a cell.

    Attributes:
        cell: Skill and size, such as `chain-4`.
        text: The question in its plain form.
    """

    cell: str
    text: str

    @property
    def answer(self) -> str:
        """The correct answer."""
        return BY_NAME[self.cell.partition("-")[0]].answer(self.text)

    @property
    def hasty(self) -> str:
        """What a direct answer is trained to be."""
        return BY_NAME[self.cell.partition("-")[0]].hasty(self.text)

    @property
    def paraphrase(self) -> str:
        """The same question with separators."""
        return SEPARATOR.join(BY_NAME[self.cell.partition("-")[0]].parts(self.text))

    def thinking(self, effort: Effort) -> tuple[str, str]:
        """The trace, and the check that follows it; both empty for a direct response."""
        if effort is Effort.DIRECT:
            return "", ""
        written, again = BY_NAME[self.cell.partition("-")[0]].trace(self.text)
        return written, f"{CHECK}{again}" if effort is Effort.CHECKED else ""


def ask(rng: random.Random, cell: str) -> Asked:
    """A question of a cell, held out or not."""
    name, _, size = cell.partition("-")
    return Asked(cell, BY_NAME[name].question(rng, int(size)))


def held_out(asked: Asked) -> bool:
    """Whether a question is never trained on: a property of its text, for one in ten of each cell."""
    if asked.cell in _TOO_FEW:
        return False
    return hashlib.sha256(asked.text.encode()).digest()[0] % 10 == 0


def held_out_questions(rng: random.Random, cell: str, count: int) -> list[Asked]:
    """Distinct held-out questions of a cell."""
    found: dict[str, Asked] = {}
    while len(found) < count:
        asked = ask(rng, cell)
        if held_out(asked):
            found.setdefault(asked.text, asked)
    return list(found.values())
