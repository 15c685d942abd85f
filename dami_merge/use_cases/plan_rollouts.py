"""From a rollouts file to the answers that are worth generating next, and how many a precise figure takes."""

from fractions import Fraction
from pathlib import Path

import msgspec

from dami_merge.errors import UsageError
from dami_merge.estimators.examples import examples_of
from dami_merge.estimators.planning import NextAnswers, Per, answer_counts, next_answers
from dami_merge.estimators.precision import Spread, spreads
from dami_merge.evaluation.rollouts_file import read_rollouts, read_sidecar, sidecar_path
from dami_merge.files import write_durable
from dami_merge.lambdas import fraction_text
from dami_merge.use_cases.planned import PlannedCell

MOST_PLANNED = 1_000_000
"""Answers of one plan."""


class LambdaAnswers(msgspec.Struct, frozen=True):
    """What a plan asks at one λ.

    Attributes:
        lam: λ; named `lambda` in JSON.
        held: Answers that there are.
        more: Answers that are planned.
        questions: Questions with planned answers.
        tokens: Tokens that they are expected to take.
    """

    lam: Fraction = msgspec.field(name="lambda")
    held: int
    more: int
    questions: int
    tokens: float


class RolloutsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Answers to generate next, and how precise the figures are.

    Attributes:
        questions: Questions of the sweep.
        unasked: Questions that lack answers at some λ; estimators leave them out.
        budget: Answers that were asked for.
        per: What the information was weighed by.
        rows: What is planned at every λ, ascending.
        before: Variance of the success, mean over all cells, as it is known now.
        after: The same, as it is expected with the planned answers.
        even: The same, as it is expected if as many answers were spread evenly.
        cells: Cells with planned answers, the most informative first.
        spreads: How precisely the difference of each λ to the largest is known.
    """

    questions: int
    unasked: int
    budget: int
    per: Per
    rows: tuple[LambdaAnswers, ...]
    before: float
    after: float
    even: float
    cells: tuple[PlannedCell, ...]
    spreads: tuple[Spread, ...]


def plan_rollouts(
    rollouts: str | Path, budget: int = 1000, *, per: Per = "answer", output: str | Path | None = None
) -> RolloutsPlan:
    """Plan which answers to generate next.

    Args:
        rollouts: Rollouts file of a sweep; its settings name the questions, also those without answers.
        budget: Number of answers to plan.
        per: Plan the most information per `answer` or per `token`.
        output: JSON Lines file to write, one `PlannedCell` a line.

    Raises:
        UsageError: The budget is not possible, or the output would replace the rollouts.
        InputRefused: The rollouts or their settings cannot be read, or no query has answers at every λ.
        DiskFull: The disk is full.
    """
    if not 1 <= budget <= MOST_PLANNED:
        raise UsageError(f"a budget of {budget:,} answers", hint=f"give one from 1 to {MOST_PLANNED:,}")
    path = Path(rollouts)
    if output is not None and Path(output).absolute() in {path.absolute(), sidecar_path(path).absolute()}:
        raise UsageError(f"the plan would replace {output}", hint="give another file")
    rows, sidecar = read_rollouts(path), read_sidecar(path)
    examples = examples_of(rows, sidecar)
    found = next_answers(answer_counts(rows, sidecar), budget, per=per)
    cells = _cells(found)
    if output is not None:
        encoder = msgspec.json.Encoder()
        write_durable(Path(output), b"".join(encoder.encode(cell) + b"\n" for cell in cells))
    return RolloutsPlan(
        questions=len(found.answered.questions),
        unasked=int((found.answered.samples == 0).any(axis=1).sum()),
        budget=budget,
        per=per,
        rows=_rows(found),
        before=found.before,
        after=found.after,
        even=found.even,
        cells=cells,
        spreads=spreads(examples),
    )


def rollouts_plan_value(plan: RolloutsPlan) -> dict[str, object]:
    """Convert a plan to JSON values; every λ is a string such as `3/10`."""
    value: dict[str, object] = msgspec.to_builtins(plan, enc_hook=fraction_text)
    return value


def _cells(found: NextAnswers) -> tuple[PlannedCell, ...]:
    answered = found.answered
    return tuple(
        PlannedCell(
            question=answered.questions[row],
            fraction=fraction_text(answered.lambdas[column]),
            held=int(answered.samples[row, column]),
            samples=int(answered.samples[row, column] + found.more[row, column]),
        )
        for row, column in dict.fromkeys(found.order)
    )


def _rows(found: NextAnswers) -> tuple[LambdaAnswers, ...]:
    more, answered = found.more.sum(axis=0), found.answered
    return tuple(
        LambdaAnswers(
            lam,
            held=int(answered.samples[:, place].sum()),
            more=int(more[place]),
            questions=int((found.more[:, place] > 0).sum()),
            tokens=float(more[place] * answered.tokens[place]),
        )
        for place, lam in enumerate(answered.lambdas)
    )
