r"""Grade an answer against the correct one. Never imports torch; math-verify runs in a process of its own.

Only the text after the thinking block is graded; `thinking.split_thinking` removes the block.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from dami_merge.evaluation.grading.boxed import last_boxed, plain
from dami_merge.evaluation.grading.math_judge import LIMIT_S, MathJudge
from dami_merge.evaluation.grading.spelling import spelled
from dami_merge.evaluation.questions.question import Question

GradeFunction = Callable[[Question, str], bool]
"""A user's grader, called with the question and the text after the thinking block."""

_STATED = re.compile(r"(?:\b[Aa]nswer\b[*_]*(?:\s+is\b)?[ *_]*[:=]?|####)[ *_]*(?P<rest>\S.*)\Z")
_WORDS_IN_LATEX = re.compile(r"\\(?:text|mathrm|begin|end)[a-z]*\{[^{}]*\}")
_WRITTEN = re.compile(r"[0-9A-Za-z\\]")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|\$")

_LETTER_IN_BOX = re.compile(r"\(?([A-Za-z])(?:$|[).:,\s])")
_LETTER_SAID = re.compile(
    r"(?i:\b(?:answer|option|choice)\b)[*_]{0,3}(?:\s{1,3}is\b)?\s{0,3}[:=]?[\s*_$\"'`]{0,9}"
    r"(?:\(([A-Za-z])\)|([B-HJ-Z](?![\w'’])|[AI](?![\w'’]| +(?!because|since|as |and |for |which )[a-z])))"
)
_LETTER_IN_BRACKETS = re.compile(r"\(([A-Z])\)")
_LETTER_ALONE = re.compile(r"(?:^|(?<=[\s*_\"'`]))([A-HJ-Z])(?=[*_\"'`]*(?:[.):,;!]|\s*$))", re.MULTILINE)


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

    def __enter__(self) -> "Grader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the math-verify process if it was started."""
        self._judge.close()

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
        if boxed.cut or not text.strip():
            return Grade(None, correct=False)
        alone = boxed.content or _stated(text)
        written = alone or text.strip()
        right, found = spelled(gold), spelled(written)
        if plain(right).casefold() == plain(found).casefold():
            return Grade(written, correct=True)
        verdict = self._judge.judge(right, found, boxed=alone is not None)
        return Grade(alone or verdict.answer, correct=verdict.correct)


def _stated(text: str) -> str | None:
    """Return the formula that fills the last line, or all of that line after "answer" or `####`."""
    last = text.strip().rpartition("\n")[2]
    match = _STATED.search(last)
    stated = (last if match is None else match["rest"]).strip("*_ ")
    stated = stated.removeprefix(r"\$").lstrip("$").rstrip(".$ ")
    return stated if _WRITTEN.search(stated) and not _PROSE.search(_WORDS_IN_LATEX.sub("", stated)) else None


def _choice(gold: str, text: str) -> Grade:
    letter = _letter(text)
    return Grade(letter, correct=letter is not None and letter == gold.strip(" ().").upper())


def _letter(text: str) -> str | None:
    boxed = last_boxed(text)
    if boxed.cut:
        return None
    if boxed.content is not None and (match := _LETTER_IN_BOX.match(plain(boxed.content))):
        return match[1].upper()
    for pattern in (_LETTER_SAID, _LETTER_IN_BRACKETS, _LETTER_ALONE):
        found = [match[match.lastindex or 0] for match in pattern.finditer(text)]
        if found:
            return str(found[-1]).upper()
    return None


def _exact(gold: str, text: str) -> Grade:
    boxed = last_boxed(text)
    written = text.strip() if boxed.content is None else boxed.content
    if boxed.cut or not written:
        return Grade(None, correct=False)
    right = " ".join(gold.split())
    return Grade(written, correct=right in {" ".join(written.split()), plain(written)})
