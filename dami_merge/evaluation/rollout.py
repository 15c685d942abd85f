"""One line of a rollouts file: a graded answer. Declared once; unknown fields are refused."""

from fractions import Fraction

import msgspec

from dami_merge.evaluation.generation import Finish
from dami_merge.evaluation.grading.thinking import Thinking


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One graded sample.

    Attributes:
        question: Id of the question.
        group: Group of the question; may be empty.
        fraction: λ exactly, such as `3/10`; named `lambda` in the file.
        sample: Number of the sample, from 0 to K - 1.
        text: The complete generated text.
        tokens: Number of generated tokens; the cap for a truncated answer.
        finish: `length` if the answer was truncated at the cap; such an answer is wrong.
        thinking: State of the thinking block: none was begun, closed by its own tag, left open, or closed by
            another tag.
        answer: What was graded; None if no answer was found.
        correct: Whether the answer is correct.
        seconds: Wall time.
        settings: Digest of the settings that produced the sample.
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
