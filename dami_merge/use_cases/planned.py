"""A plan of answers as a JSON Lines file: what `plan-rollouts` writes and `sweep --plan` generates."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import msgspec

from dami_merge.errors import InputRefused, LambdaError, Problem
from dami_merge.evaluation.generation import Request
from dami_merge.evaluation.questions.question import Question
from dami_merge.evaluation.rollout import Counted, ExactLambda
from dami_merge.files import is_special
from dami_merge.lambdas import parse_lambda, require_available

MOST_SAMPLES = 1_000_000
"""Most answers of a question at one λ."""


class PlannedCell(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A line of a plan.

    Attributes:
        question: Id of the question.
        fraction: λ, such as `3/10`; named `lambda` in the file.
        held: Answers that there were when the plan was made.
        samples: Answers that there should be.
    """

    question: str
    fraction: ExactLambda = msgspec.field(name="lambda")
    held: Counted
    samples: Annotated[int, msgspec.Meta(ge=1, le=MOST_SAMPLES)]


def read_planned(path: Path) -> tuple[PlannedCell, ...]:
    """Read a plan.

    Raises:
        InputRefused: The file cannot be read, is empty, or has malformed lines; all are reported.
    """
    hint = "make the plan with `dami-merge plan-rollouts`"
    try:
        if is_special(path):
            raise InputRefused([Problem("plan", f"{path} is not a regular file", hint)])
        content = path.read_bytes()
    except OSError as error:
        raise InputRefused([Problem("plan", f"{path}: {error.strerror}", hint)]) from error
    decoder = msgspec.json.Decoder(PlannedCell)
    cells, problems = [], []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            cell = decoder.decode(line)
            parse_lambda(cell.fraction)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LambdaError) as error:
            problems.append(Problem("plan", f"{path}, line {number}: {error}", hint))
            continue
        cells.append(cell)
    if not cells and not problems:
        problems.append(Problem("plan", f"{path} plans no answer", hint))
    if problems:
        raise InputRefused(problems)
    return tuple(cells)


def planned_requests(
    cells: Sequence[PlannedCell], questions: Sequence[Question], lambdas: Sequence[Fraction]
) -> tuple[Request, ...]:
    """The answers that should be there after a plan, λ by λ, each in the order of the plan.

    Args:
        cells: The plan.
        questions: Questions of the sweep.
        lambdas: λ of the sweep.

    Raises:
        InputRefused: A question of the plan is not in the sweep.
        LambdaError: A λ of the plan is not in the sweep.
    """
    known = {question.id: question for question in questions}
    unknown = sorted({cell.question for cell in cells} - known.keys())
    if unknown:
        fact = f"the plan has {len(unknown):,} questions that the sweep lacks, such as {unknown[0]!r}"
        raise InputRefused([Problem("plan", fact, "give the questions that the plan was made for")])
    exact = [(parse_lambda(cell.fraction), cell) for cell in cells]
    require_available({lam for lam, _ in exact}, lambdas, where="this sweep")
    return tuple(
        Request(known[cell.question], lam, sample)
        for lam, cell in sorted(exact, key=lambda pair: pair[0])
        for sample in range(cell.samples)
    )
