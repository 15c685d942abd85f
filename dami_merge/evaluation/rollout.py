"""One line of a rollouts file: a graded answer. Declared once; unknown fields are refused."""

from fractions import Fraction
from typing import Annotated

import msgspec

from dami_merge.evaluation.generation import Finish
from dami_merge.evaluation.grading.thinking import Thinking

MOST_COUNTED = 2**53 - 1
"""Larger counts would not be exact in a mean."""

Counted = Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNTED)]
Wall = Annotated[float, msgspec.Meta(ge=0)]
ExactLambda = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}/[1-9][0-9]{0,3}$")]


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
    fraction: ExactLambda = msgspec.field(name="lambda")
    sample: Counted
    text: str
    tokens: Counted
    finish: Finish
    thinking: Thinking
    answer: str | None
    correct: bool
    seconds: Wall
    settings: str

    @property
    def lam(self) -> Fraction:
        """λ as a fraction."""
        return Fraction(self.fraction)
