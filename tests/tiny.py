"""The bundled pair for the tests of backends: its questions, its grid, and requests."""

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import msgspec

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_questions
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import open_both
from dami_merge.evaluation.generation import Request
from dami_merge.evaluation.questions.question import Message, Question
from dami_merge.grid.build import build_grid
from dami_merge.grid.planning import make_plan
from dami_merge.grid.recipe import bundled_recipe
from dami_merge.sampling import SamplingSettings

LAMBDAS = (Fraction(0), Fraction(2, 5), Fraction(1))
GREEDY = SamplingSettings(temperature=0, max_tokens=96)
SAMPLED = SamplingSettings(temperature=1, top_p=0.95, top_k=20, max_tokens=96)


def questions(count: int) -> list[Question]:
    """Evenly spread over the file, so that prompts are of different lengths."""
    lines = [json.loads(line) for line in bundled_questions().read_text(encoding="utf-8").splitlines()]
    spread = [lines[place * len(lines) // count] for place in range(count)]
    return [Question(line["id"], (Message("user", line["prompt"]),), line["answer"]) for line in spread]


def requests(count: int, samples: int = 1, *, lam: Fraction = LAMBDAS[-1]) -> list[Request]:
    return [Request(question, lam, sample) for question in questions(count) for sample in range(samples)]


def at(lam: Fraction, wanted: Sequence[Request]) -> list[Request]:
    """The same requests of another λ."""
    return [replace(request, lam=lam) for request in wanted]


def build_tiny_grid(output: Path) -> Path:
    pair = join(*open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING))
    build_grid(make_plan(msgspec.structs.replace(bundled_recipe(), lambdas=LAMBDAS), pair, output))
    return output
