"""All that a sweep says, as one value: from rollouts to what a table, a JSON and a page show."""

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import msgspec

from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.statistics.bootstrap import RESAMPLES, Difference, Resamples, resample
from dami_merge.evaluation.statistics.lambda_summary import LambdaSummary, summarise_lambdas
from dami_merge.evaluation.statistics.monotone import Violation, violations
from dami_merge.evaluation.statistics.pareto import Pareto, pareto
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.serving_grid import LOSS, ServingGrid, serving_grid
from dami_merge.evaluation.statistics.stages import Stages, stages
from dami_merge.evaluation.statistics.table import tabulate
from dami_merge.lambdas import fraction_text


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All λ against each other, on the questions that every one of them has.

    Attributes:
        questions: How many those are.
        points: What was measured on them, ascending in λ; a λ that has more questions has other numbers in
            its `Row`.
        neighbours: Each λ against the one before.
        against_instruct: Each λ against λ = 0, ascending; empty where that was not measured.
        against_thinking: Likewise against λ = 1.
        violations: Where accuracy or tokens fall.
        pareto: Frontier, hull and what is dominated.
        stages: Of the thinking share.
        serving: The few λ that are worth serving.
    """

    questions: int
    points: tuple[Point, ...]
    neighbours: tuple[Difference, ...]
    against_instruct: tuple[Difference, ...]
    against_thinking: tuple[Difference, ...]
    violations: tuple[Violation, ...]
    pareto: Pareto
    stages: Stages
    serving: ServingGrid


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """All questions, or those of one group.

    Attributes:
        group: Its name; None for all questions.
        questions: How many have an answer at any λ; a row of fewer is not finished.
        rows: Each λ on the questions that it has, ascending.
        comparison: None where no question has an answer at every λ.
    """

    group: str | None
    questions: int
    rows: tuple[LambdaSummary, ...]
    comparison: Comparison | None


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that a sweep says.

    Attributes:
        lambdas: Ascending.
        settings: Digests of the settings that made the answers; more than one is a mixture of λ that were
            not sampled alike.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
        overall: All questions.
        groups: Each group, by name; empty where there are not two.
    """

    lambdas: tuple[Fraction, ...]
    settings: tuple[str, ...]
    seed: int
    resamples: int
    overall: Section
    groups: tuple[Section, ...]


def summarise(
    rollouts: Iterable[Rollout],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    lambdas: Sequence[Fraction] | None = None,
    loss: float = LOSS,
) -> SweepReport:
    """Summarise a sweep, finished or not.

    Args:
        rollouts: In any order.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
        lambdas: Only these; None is all. One λ that has few questions yet leaves few to compare all on.
        loss: Of accuracy, that the serving grid may have.

    Raises:
        InputRefused: What `tabulate` refuses, a λ without rollouts, no resample, or a loss that is no share.
    """
    table = tabulate(rollouts)
    if lambdas is not None:
        table = table.at(lambdas)
    names = sorted(set(table.groups))

    def section(group: str | None) -> Section:
        own = table if group is None else table.of_group(group)
        drawn = resample(own, seed=seed, resamples=resamples) if own.shared().questions else None
        return Section(
            group=group,
            questions=len(own.questions),
            rows=summarise_lambdas(own),
            comparison=None if drawn is None else _comparison(drawn, loss),
        )

    return SweepReport(
        lambdas=table.lambdas,
        settings=tuple(sorted(set(table.settings))),
        seed=seed,
        resamples=resamples,
        overall=section(None),
        groups=tuple(section(name) for name in names) if len(names) > 1 else (),
    )


def sweep_value(report: SweepReport) -> dict[str, Any]:
    """A report as JSON values; λ are text, `3/10`, under `lambda`, `start`, `stop` and the like."""
    value: dict[str, Any] = msgspec.to_builtins(report, enc_hook=fraction_text)
    return value


def _comparison(drawn: Resamples, loss: float) -> Comparison:
    lambdas = [point.lam for point in drawn.points]

    def against(reference: Fraction) -> tuple[Difference, ...]:
        if reference not in lambdas:
            return ()
        return tuple(drawn.difference(reference, lam) for lam in lambdas if lam != reference)

    return Comparison(
        questions=drawn.questions,
        points=drawn.points,
        neighbours=tuple(drawn.difference(*pair) for pair in itertools.pairwise(lambdas)),
        against_instruct=against(Fraction(0)),
        against_thinking=against(Fraction(1)),
        violations=violations(drawn.points, resamples=drawn),
        pareto=pareto(drawn.points, resamples=drawn),
        stages=stages(drawn.points),
        serving=serving_grid(drawn.points, loss=loss),
    )
