"""One line of a rollouts file: an answer, graded. Declared once; an unknown field is refused."""

from fractions import Fraction

import msgspec

from dami_merge.evaluation.generation import Finish
from dami_merge.evaluation.grading.thinking import Thinking


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sample.

    Attributes:
        question: Id.
        group: As the question says; may be empty.
        fraction: λ exactly, `3/10`; `lambda` in the file.
        sample: From 0 to K - 1.
        text: What was generated, whole.
        tokens: How many tokens that is; the cap for an answer that was cut.
        finish: `length` where the cap cut it; such an answer is wrong.
        thinking: State of the thinking block: none was begun, closed by its own tag, left open, or closed by
            another tag.
        answer: What was graded; None where no answer was found.
        correct: The grade.
        seconds: Wall time.
        settings: Digest of the settings that made it.
    """

    question: str
    group: str
    fraction: str = msgspec.field(name="lambda")
    sample: int
    text: str
    tokens: int
    finish: Finish
    thinking: Thinking
    answer: str | None
    correct: bool
    seconds: float
    settings: str

    @property
    def lam(self) -> Fraction:
        """λ as a fraction."""
        return Fraction(self.fraction)
