"""A backend for tests that knows sums: right more often the larger λ is, and wordier. Seeded, no model."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from dami_merge.evaluation.generation import Generation, Request
from dami_merge.evaluation.questions.question import Message, Question
from dami_merge.sampling import SamplingSettings


def sums(count: int) -> tuple[Question, ...]:
    """`0+1`, `1+2`, …; even ones are of group `even`."""
    return tuple(
        Question(
            id=f"q{number:03d}",
            messages=(Message("user", f"{number}+{number + 1}"),),
            answer=str(2 * number + 1),
            group="odd" if number % 2 else "even",
            kind="exact",
        )
        for number in range(count)
    )


@dataclass
class Calculator:
    """Thinks with the probability λ; without thinking it is right in one of three."""

    asked: list[tuple[Fraction, str, int]] = field(default_factory=list)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Iterator[tuple[Request, Generation]]:
        """In reverse, since no order is promised."""
        for request in reversed(requests):
            self.asked.append((request.lam, request.question.id, request.sample))
            chance = random.Random(f"{sampling.seed}/{request.lam}/{request.question.id}/{request.sample}")
            yield (
                request,
                self._answer(chance, float(request.lam), request.question.answer, sampling.max_tokens),
            )

    def _answer(self, chance: random.Random, lam: float, right: str, cap: int) -> Generation:
        if chance.random() >= lam:
            return Generation(right if chance.random() < 1 / 3 else "0.5", 2, "stop", 0.001)
        tokens = 10 + chance.randrange(20)
        text = f"<think>{'so ' * tokens}</think>{right}"
        if tokens > cap:
            return Generation(text[: 5 * cap], cap, "length", 0.002)
        return Generation(text, tokens, "stop", 0.002)

    def describe(self) -> dict[str, str]:
        """As a real one does."""
        return {"kind": "calculator"}
