"""Puzzles of knights and knaves by reasoning-gym, at five levels, and a backend that simulates a pair.

Nothing here is measured on a model: how often an answer is right follows from λ and the level by a formula.
"""

import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import reasoning_gym

from dami_merge.evaluation.generation import Generation, Request
from dami_merge.sampling import SamplingSettings

LEVELS = (2, 3, 4, 5, 6)
"""Inhabitants of a puzzle."""


def write_puzzles(path: Path, each: int, seed: int) -> Mapping[str, int]:
    """Write a question file in reasoning-gym's own form, and return the level of each question by its id."""
    levels: dict[str, int] = {}
    lines = []
    for level in LEVELS:
        puzzles = reasoning_gym.create_dataset("knights_knaves", seed=seed + level, size=each, n_people=level)
        for number in range(each):
            name = f"knights-{seed}-{level}-{number}"
            levels[name] = level
            lines.append(json.dumps({**puzzles[number], "id": name}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return levels


class SimulatedPair:
    """Answers puzzles as a pair might: the more inhabitants, the larger the λ that solves them.

    A puzzle of two is solved at every λ, one of six only near Thinking; tokens grow with λ and the level.
    """

    def __init__(self, levels: Mapping[str, int]) -> None:
        self._levels = levels

    def generate(
        self, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Iterator[tuple[Request, Generation]]:
        for request in requests:
            name = f"{sampling.seed} {request.question.id} {request.lam} {request.sample}"
            rng = random.Random(hashlib.sha256(name.encode()).digest())
            level = (self._levels[request.question.id] - LEVELS[0]) / (LEVELS[-1] - LEVELS[0])
            lam = float(request.lam)
            solved = rng.random() < 0.97 / (1 + math.exp(-(lam + 0.25 - 1.1 * level) / 0.08))
            tokens = round(30 * math.exp(2.0 * lam + 0.3 * level + rng.gauss(0.0, 0.2)))
            answer = request.question.answer if solved else "They are all knaves."
            yield request, Generation(f"\\boxed{{{answer}}}", max(1, tokens), "stop", 0.0)

    def describe(self) -> dict[str, str]:
        return {"backend": "simulated pair"}
