"""The skill that the pair learns: questions, answers, traces, and which questions are held out.

Knows texts only: nothing of tokens, models or how much of anything is trained on.
"""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class Effort(IntEnum):
    """How much a response writes before its answer; the example answers `7a-3b*3c-2`.

    DIRECT   `0`
    SHORT    `<think>7b2c0</think>0`: every second state and the last, no operators
    FULL     `<think>7a-34b*32c-20</think>0`: label, operator, operand and new state of every step
    CHECKED  `<think>7a-34b*32c-20W7a4b2c0</think>0`: the same, then every state once more

    SHORT is there for what it may teach: its own jumps stay wrong in chains above two steps, but a
    base without it (one run, with other numbers of steps) had 0.22 of the direct answers to two
    steps right, where this one has all.
    """

    DIRECT = 0
    SHORT = 1
    FULL = 2
    CHECKED = 3


class Task(Protocol):
    """One skill: questions of graded difficulty, their answers, and traces that lead there."""

    @property
    def levels(self) -> Sequence[int]:
        """The difficulties there are, ascending."""

    @property
    def test_levels(self) -> Sequence[int]:
        """The difficulties with so many questions that some are held out."""

    def question(self, rng: random.Random, level: int) -> str:
        """A question of this difficulty."""

    def difficulty(self, question: str) -> int:
        """The level of a question."""

    def answer(self, question: str) -> str:
        """The direct answer."""

    def trace(self, question: str, effort: Effort) -> str:
        """What stands between the thinking tags; effort is above DIRECT."""


@dataclass(frozen=True, slots=True)
class ChainTask:
    """Left-to-right arithmetic modulo 10; the difficulty is the number of steps."""

    levels: Sequence[int] = range(1, 9)
    test_levels: Sequence[int] = range(2, 9)

    def question(self, rng: random.Random, level: int) -> str:
        """A digit and `level` steps: a quarter of them multiply, by a number that can be undone modulo 10."""
        text = str(rng.randrange(10))
        for label in "abcdefgh"[:level]:
            if rng.random() < 0.25:
                text += f"{label}*{rng.choice('379')}"
            else:
                text += f"{label}{rng.choice('+-')}{rng.randint(1, 9)}"
        return text

    def difficulty(self, question: str) -> int:
        """The number of steps, each of which is written in three characters."""
        return len(question) // 3

    def answer(self, question: str) -> str:
        """The state after the last step."""
        return str(self._states(question)[-1])

    def trace(self, question: str, effort: Effort) -> str:
        """The start and the written steps without a space between them, as `Effort` shows."""
        steps = [question[i : i + 3] for i in range(1, len(question), 3)]
        start, *states = self._states(question)
        written = [
            f"{step[0]}{state}" if effort is Effort.SHORT else f"{step}{state}"
            for i, (step, state) in enumerate(zip(steps, states, strict=True))
            if effort is not Effort.SHORT or i % 2 == 1 or i == len(steps) - 1
        ]
        text = f"{start}{''.join(written)}"
        if effort is Effort.CHECKED:
            text += f"W{start}{''.join(f'{s[0]}{v}' for s, v in zip(steps, states, strict=True))}"
        return text

    @staticmethod
    def _states(question: str) -> list[int]:
        states = [int(question[0])]
        for operator, operand in re.findall(r"([-+*])(\d)", question):
            state, number = states[-1], int(operand)
            if operator == "*":
                states.append(state * number % 10)
            else:
                states.append((state + number if operator == "+" else state - number) % 10)
        return states


def held_out(task: Task, question: str) -> bool:
    """Whether a question belongs to the test set: a property of its text alone."""
    if task.difficulty(question) not in task.test_levels:
        return False
    return hashlib.sha256(question.encode()).digest()[0] % 10 == 0


def test_questions(task: Task, per_level: int, seed: int) -> list[str]:
    """Distinct held-out questions, `per_level` for each of the task's test levels, by level."""
    rng = random.Random(f"test {seed}")
    chosen: list[str] = []
    for level in task.test_levels:
        questions: dict[str, None] = {}
        while len(questions) < per_level:
            question = task.question(rng, level)
            if held_out(task, question):
                questions[question] = None
        chosen.extend(questions)
    return chosen
