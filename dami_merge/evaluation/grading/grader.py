r"""Grade an answer against the correct one. Never imports torch; math-verify runs in a process of its own.

Only the text after the thinking block is graded; `thinking.split_thinking` removes the block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from dami_merge.evaluation.grading.boxed import last_boxed, plain
from dami_merge.evaluation.grading.equal import Equality
from dami_merge.evaluation.grading.letter import letter
from dami_merge.evaluation.grading.math_judge import LIMIT_S, MathJudge
from dami_merge.evaluation.grading.own_grader import OwnGrader
from dami_merge.evaluation.grading.stated import stated
from dami_merge.evaluation.questions.question import Question

GradeFunction = Callable[[Question, str], bool]
"""A user's grader, called with the question and the text after the thinking block."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The grade of one answer.

    Attributes:
        answer: What was graded: the content of the box, the letter, or, in a text without a box, the
            expression that math-verify found; None if no answer was found.
        correct: Whether the answer is correct.
    """

    answer: str | None
    correct: bool


class Grader:
    r"""Grades answers; can be shared between threads. Close it, or use it as a context manager.

    `math`: the last `\boxed{…}`, else the expression after "answer", else the last number or formula;
        compared by value with math-verify: `\frac12` is 0.5, `1,234` is 1234, `x=5` is 5, `5 cm` is 5,
        `50\%` is 50 and 0.5; `(2,3]` is not `(2,3)`. Decimals are compared to six places.
    `choice`: the letter in the last box, else the last "answer is B" or "option B", else the last "(B)",
        else the last capital letter on its own.
    `exact`: the content of the last box, else the whole text; whitespace is normalised.

    If the last box is not closed, the text was truncated and has no answer. Empty boxes are ignored.
    """

    def __init__(self, check: GradeFunction | None = None, *, limit_s: int = LIMIT_S) -> None:
        """Create a grader. math-verify starts with the first answer that needs it.

        Args:
            check: Replaces all of the rules above; see `own_grader.load_grader`.
            limit_s: Seconds for parsing one expression and for one comparison; beyond that, an answer is
                wrong.
        """
        self._check = check
        self._judge = MathJudge(limit_s=limit_s)
        self._equality = Equality(self._judge.judge, limit_s=4 * limit_s)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the process of math-verify, and that of the user's grader, if they were started."""
        self._judge.close()
        if isinstance(self._check, OwnGrader):
            self._check.close()

    def grade(self, question: Question, answer_text: str) -> Grade:
        """Grade the text that follows the thinking block.

        Raises:
            DamiMergeError: math-verify is needed but not installed, or the user's check failed.
        """
        if self._check is not None:
            return Grade(answer_text.strip() or None, correct=self._check(question, answer_text))
        if question.kind == "choice":
            return _choice(question.answer, answer_text)
        if question.kind == "exact":
            return _exact(question.answer, answer_text)
        return self._math(question.answer, answer_text)

    def _math(self, gold: str, text: str) -> Grade:
        boxed = last_boxed(text)
        if boxed.cut:
            return Grade(None, correct=False)
        written = boxed.content or stated(text)
        if written is None:
            return Grade(None, correct=False)
        return Grade(written, correct=self._equality.equal(gold, written))


def _choice(gold: str, text: str) -> Grade:
    found = letter(text)
    return Grade(found, correct=found is not None and found == gold.strip(" ().").upper())


def _exact(gold: str, text: str) -> Grade:
    boxed = last_boxed(text)
    written = text.strip() if boxed.content is None else boxed.content
    if boxed.cut or not written:
        return Grade(None, correct=False)
    right = " ".join(gold.split())
    return Grade(written, correct=right in {" ".join(written.split()), plain(written)})
