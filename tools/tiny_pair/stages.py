"""What is trained on, how long and at which rate: the stages of the base and of the two endpoints.

Values only. Knows nothing of tokens, tensors or models, and does not import torch.
"""

from dataclasses import dataclass, replace

from tiny_pair.task import Effort

NOMINAL_MINUTES = 20.0
"""The `--minutes` at which the stages have the numbers of steps written here."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stage's examples: its share, a weight for every level, and the effort.

    An effort of None leans on the level: longer questions are given more.
    """

    share: float
    level_weights: tuple[float, ...]
    effort: Effort | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Some steps on one mixture, with a learning rate that goes linearly from first to last."""

    name: str
    steps: int
    parts: tuple[Part, ...]
    first_rate: float
    last_rate: float


EVEN = (1.0,) * 8
BASE_STAGES = (
    Stage("traces", 800, (Part(1.0, EVEN, Effort.FULL),), 4e-3, 3e-3),
    Stage(
        "mixture",
        4000,
        (Part(0.6, EVEN), Part(0.4, (8, 10, 4, 1, 1, 1, 1, 1), Effort.DIRECT)),
        3e-3,
        2e-3,
    ),
    Stage(
        "direct",
        6000,
        (
            Part(0.4, EVEN),
            Part(0.1, EVEN, Effort.SHORT),
            Part(0.5, (8, 32, 36, 14, 4, 2, 2, 2), Effort.DIRECT),
        ),
        2e-3,
        1e-4,
    ),
)
INSTRUCT_STAGE = Stage("instruct", 36, (Part(1.0, EVEN, Effort.DIRECT),), 3e-4, 3e-4)
THINKING_STAGE = Stage(
    "thinking",
    26,
    (Part(0.8, EVEN, Effort.CHECKED), Part(0.2, EVEN, Effort.FULL)),
    3e-4,
    3e-4,
)


def scaled(stage: Stage, minutes: float) -> Stage:
    """The stage with its number of steps in proportion to the minutes, at least one."""
    return replace(stage, steps=max(1, round(stage.steps * minutes / NOMINAL_MINUTES)))
