"""What an evaluation finds. Values only."""

from fractions import Fraction

import msgspec

from dami_merge.estimators.goal import Setting
from dami_merge.estimators.judge.contest import ContestRow, StaticPoint
from dami_merge.estimators.judge.metrics import CurveMetrics
from dami_merge.estimators.judge.resampled import Figure95


class LearningPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a contender reaches with so many training queries.

    Attributes:
        name: Name of the contender.
        queries: Number of training queries.
        over_hull: The primary figure on the test queries.
    """

    name: str
    queries: int
    over_hull: Figure95


class Entrant(msgspec.Struct, frozen=True, kw_only=True):
    """How a row of the table was made.

    Attributes:
        name: Name of the row.
        kind: Kind of estimator.
        features: Its features.
        source: Folder of an artefact; empty for one that was fitted here.
        queries: Number of queries that it was fitted on.
        settings: Price, guard and how the goal is met on the training queries, for each seed.
        milliseconds: Time of one decision, features included, one query at a time; None where features ask
            models.
    """

    name: str
    kind: str
    features: str
    source: str
    queries: int
    settings: tuple[Setting, ...]
    milliseconds: float | None


class ShownQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One test query as measured and as predicted by one entrant.

    Attributes:
        prompt: The last turn of its prompt.
        group: Its group.
        accuracy: Measured accuracy at every λ.
        tokens: Measured tokens at every λ.
        predicted: Predicted probability at every λ.
        cost: Predicted tokens at every λ.
        chosen: λ that it got.
    """

    prompt: str
    group: str
    accuracy: tuple[float, ...]
    tokens: tuple[float, ...]
    predicted: tuple[float, ...]
    cost: tuple[float, ...]
    chosen: Fraction


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an evaluation finds.

    Attributes:
        queries: Number of test queries.
        answers: Number of their answers.
        lambdas: λ that all can choose from.
        static: Every λ for all queries.
        static_metrics: Metrics of the static λ as if they were a router.
        co_failures: Share of the queries with no correct answer at any λ.
        seeds: Number of seeds of what was fitted.
        entrants: How the rows were made.
        rows: The rows, in the same order.
        shown: Some test queries under the first entrant that predicts success.
        shown_by: Name of that entrant; empty if there is none.
    """

    queries: int
    answers: int
    lambdas: tuple[Fraction, ...]
    static: tuple[StaticPoint, ...]
    static_metrics: CurveMetrics
    co_failures: float
    seeds: int
    entrants: tuple[Entrant, ...]
    rows: tuple[ContestRow, ...]
    shown: tuple[ShownQuery, ...]
    shown_by: str


def evaluation_value(report: EvaluationReport) -> dict[str, object]:
    """An evaluation as a JSON value; λ as exact fractions."""
    value: dict[str, object] = msgspec.to_builtins(report, enc_hook=str)
    value["lambdas"] = [str(lam) for lam in report.lambdas]
    value["rows"] = [
        msgspec.to_builtins(row, enc_hook=str) | {"failures": list(row.signatures.failures)}
        for row in report.rows
    ]
    return value
