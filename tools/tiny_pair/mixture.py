"""What is trained on, how long and at which rate; and which cells are asked afterwards.

Values only. Knows nothing of tokens, tensors or models, and does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tiny_pair.task import Effort

NOMINAL_MINUTES = 20.0
"""The `--minutes` at which the stages have the numbers of steps written here."""

Lesson = Literal["ability", "traces", "willing"]
"""What an example teaches.

`ability`: a direct answer, while `<think>` is hidden, so that the will to think is not touched.
`traces`: a trace and its answer; whether to think, and whether to check, is not learned from it.
`willing`: whether to think and to check, drawn without a look at the question.
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Some steps on one mixture, with a learning rate that goes linearly from first to last.

    Attributes:
        name: Its name; also part of the seed of its questions.
        steps: Number of steps.
        shares: Share of each lesson.
        efforts: Of `willing` examples: shares of DIRECT, FULL and CHECKED.
        first_rate: Learning rate of the first step.
        last_rate: Learning rate after the last step.
    """

    name: str
    steps: int
    shares: Mapping[Lesson, float]
    efforts: Mapping[Effort, float]
    first_rate: float
    last_rate: float


def _cells(**sizes: Mapping[int, float]) -> Mapping[str, float]:
    weights = {f"{name}-{size}": weight for name, own in sizes.items() for size, weight in own.items()}
    return MappingProxyType(weights)


_SOME = {2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0, 6: 1.0, 7: 1.0, 8: 1.0}

ABILITY = _cells(
    chain={1: 5, 2: 14, 3: 10, 4: 3},
    reset={3: 1, 4: 1, 5: 2, 6: 1, 7: 2},
    hops={1: 3, 2: 3},
    largest=dict.fromkeys(_SOME, 0.35),
    count=dict.fromkeys(_SOME, 0.7),
    exceed=dict.fromkeys(_SOME, 0.7),
    second=dict.fromkeys(_SOME, 0.5),
    lookup=dict.fromkeys(_SOME, 0.4),
)
"""Weights of the cells in which direct answers are trained: graded, so that direct ability is graded too."""

TRACES = _cells(
    chain={1: 1, 2: 1.5, 3: 2, 4: 2.5, 5: 3, 6: 3, 7: 3},
    reset={3: 0.5, 4: 0.5, 5: 0.7, 6: 0.7, 7: 0.7},
    hops={1: 2, 2: 3, 3: 3, 4: 3},
    largest=dict.fromkeys(_SOME, 0.4),
    count=dict.fromkeys(_SOME, 0.6),
    exceed=dict.fromkeys(_SOME, 0.6),
    second=dict.fromkeys(_SOME, 0.6),
    lookup=dict.fromkeys(_SOME, 0.15),
)
"""Weights of the cells in which traces are trained; few of look-ups, so that Thinking loses some of these."""

EVERY = _cells(
    chain={1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1},
    reset={3: 0.4, 4: 0.4, 5: 0.4, 6: 0.4, 7: 0.4},
    hops={1: 1.2, 2: 1.2, 3: 1.2, 4: 1.2},
    largest=dict.fromkeys(_SOME, 0.3),
    count=dict.fromkeys(_SOME, 0.3),
    exceed=dict.fromkeys(_SOME, 0.3),
    second=dict.fromkeys(_SOME, 0.3),
    lookup=dict.fromkeys(_SOME, 0.3),
)
"""Weights of the cells in which the will to think is trained."""

CELLS_OF_LESSON: Mapping[Lesson, Mapping[str, float]] = MappingProxyType(
    {"ability": ABILITY, "traces": TRACES, "willing": EVERY}
)

_BASE_WILL = {Effort.DIRECT: 0.45, Effort.FULL: 0.5, Effort.CHECKED: 0.05}

BASE_STAGES = (
    Stage("traces", 1500, {"traces": 0.45, "ability": 0.45, "willing": 0.1}, _BASE_WILL, 4e-3, 3.4e-3),
    Stage("direct", 6500, {"traces": 0.18, "ability": 0.6, "willing": 0.22}, _BASE_WILL, 3.4e-3, 6e-4),
    Stage("settle", 700, {"traces": 0.15, "ability": 0.35, "willing": 0.5}, _BASE_WILL, 8e-4, 2e-5),
)
INSTRUCT_STAGE = Stage(
    "instruct", 60, {"ability": 0.2, "traces": 0.0, "willing": 0.8}, {Effort.DIRECT: 1.0}, 3e-4, 3e-4
)
THINKING_STAGE = Stage("thinking", 60, {"willing": 1.0}, {Effort.CHECKED: 1.0}, 3e-4, 3e-4)

ASKED_CELLS = (
    *(f"chain-{size}" for size in range(2, 8)),
    "reset-5",
    "reset-7",
    *(f"hops-{size}" for size in range(1, 5)),
    *(f"{name}-{size}" for name in ("largest", "count", "exceed", "lookup") for size in (4, 8)),
)
"""The cells of the train, validation and test questions: equally many of each."""

FAMILY_CELLS = tuple(f"second-{size}" for size in range(4, 9))
"""The cells of the held-out family, which no other split has; smaller ones have too few questions."""
