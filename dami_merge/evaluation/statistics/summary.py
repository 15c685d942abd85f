"""Everything a sweep shows, as one value: from rollouts to what tables, JSON and pages contain."""

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import msgspec

from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.statistics.bootstrap import RESAMPLES, Difference, Resamples, resample
from dami_merge.evaluation.statistics.conclusion import Conclusion, conclude
from dami_merge.evaluation.statistics.lambda_summary import LambdaSummary, summarise_lambdas
from dami_merge.evaluation.statistics.monotone import Violation, violations
from dami_merge.evaluation.statistics.pareto import Pareto, pareto
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.serving_grid import LOSS, ServingGrid, serving_grid
from dami_merge.evaluation.statistics.stages import Stages, stages
from dami_merge.evaluation.statistics.table import tabulate
from dami_merge.lambdas import fraction_text


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All λ compared with each other on the questions that all of them have.

    Attributes:
        questions: Number of those questions.
        points: Means over those questions, ascending in λ; for a λ that has more questions, the numbers in
            its `LambdaSummary` differ.
        neighbours: Each λ against the λ before it.
        against_instruct: Each λ against λ = 0, ascending; empty if λ = 0 was not measured.
        against_thinking: Each λ against λ = 1, ascending; empty if λ = 1 was not measured.
        violations: Falls in accuracy or tokens.
        pareto: Frontier, hull and dominated λ.
        stages: Stages of thinking along the path.
        serving: Smallest set of λ worth serving, none of them inside a switch; None for fewer than
            `interval.FEWEST` questions.
        conclusion: What to make of λ; None for a single λ.
    """

    questions: int
    points: tuple[Point, ...]
    neighbours: tuple[Difference, ...]
    against_instruct: tuple[Difference, ...]
    against_thinking: tuple[Difference, ...]
    violations: tuple[Violation, ...]
    pareto: Pareto
    stages: Stages
    serving: ServingGrid | None
    conclusion: Conclusion | None


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """All questions, or the questions of one group.

    Attributes:
        group: Name of the group; None for all questions.
        questions: Number of questions with an answer at any λ; a row with fewer questions is unfinished.
        rows: Each λ on the questions that it has, ascending.
        comparison: The λ compared with each other; None if no question has an answer at every λ.
    """

    group: str | None
    questions: int
    rows: tuple[LambdaSummary, ...]
    comparison: Comparison | None


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a sweep shows.

    Attributes:
        lambdas: λ of the sweep, ascending.
        settings: Digests of the settings that produced the answers; more than one means that the λ were
            sampled differently.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.
        overall: All questions.
        groups: Each group, by name; empty if there are fewer than two groups.
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
        rollouts: Rollouts in any order.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.
        lambdas: λ to include; None includes all. A single λ with few questions so far leaves few questions on
            which to compare all λ.
        loss: Loss of accuracy that the serving grid may have.

    Raises:
        InputRefused: `tabulate` refuses the rollouts, a λ has no rollouts, `resamples` is below 1, or `loss`
            is outside [0, 1].
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
            comparison=None if drawn is None else compare_lambdas(drawn, loss=loss),
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
    """Convert a report to JSON values; every λ is a string such as `3/10`, wherever it occurs."""
    value: dict[str, Any] = msgspec.to_builtins(report, enc_hook=fraction_text)
    return value


def compare_lambdas(drawn: Resamples, *, loss: float = LOSS) -> Comparison:
    """Compare all λ with each other.

    Args:
        drawn: Resamples, or published points (`bootstrap.published`), which have no intervals.
        loss: Loss of accuracy that the serving grid may have.

    Raises:
        InputRefused: `loss` is outside [0, 1], or a published point lacks its share of closed blocks.
    """
    lambdas = [point.lam for point in drawn.points]
    sampled = None if drawn.published else drawn
    conclusion = conclude(drawn) if len(lambdas) > 1 else None
    serving = serving_grid(_worth_having(drawn.points, conclusion), loss=loss, resamples=sampled)

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
        violations=violations(drawn.points, resamples=sampled),
        pareto=pareto(drawn.points, resamples=sampled),
        stages=stages(drawn.points),
        serving=None if drawn.few else serving,
        conclusion=conclusion,
    )


def _worth_having(points: tuple[Point, ...], conclusion: Conclusion | None) -> list[Point]:
    """Leave out λ inside a switch: a mixture of both sides, whose share a small change may move."""
    if conclusion is None or conclusion.start is None or conclusion.stop is None:
        return list(points)
    start, stop = conclusion.start, conclusion.stop
    return [point for point in points if not start < point.lam < stop]
