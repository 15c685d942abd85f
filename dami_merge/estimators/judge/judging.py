"""Judge routings of measured queries: figures with intervals, and a verdict in words.

The primary figure, declared here before anything is measured: accuracy of a routing minus that of the hull
of static mixtures at equal mean tokens, tokens of the estimator included, with a 95% interval over queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import msgspec
import numpy as np

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.judge.headroom import Choose, by_group, by_query, cross_fitted
from dami_merge.estimators.judge.metrics import (
    CurveMetrics,
    Ends,
    auroc,
    brier,
    calibration_error,
    curve_metrics,
    entropy,
)
from dami_merge.estimators.judge.resampled import Draws, Figure95, draw, ends_mixture, gain_over_hull
from dami_merge.estimators.judge.routing import Routing, matched_random, over_seeds, routed, static
from dami_merge.estimators.judge.verdicts import signatures_of, verdict_of
from dami_merge.estimators.policy import choose
from dami_merge.estimators.tradeoff import Tradeoff, price_grid

EQUAL_DROP = 0.005
_ORACLE_PRICES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """What is judged.

    Attributes:
        name: Its name in tables.
        routings: One routing for each seed of the estimator.
        estimates: What the estimator of each seed said; empty for what has no estimator.
        tables: What each does at every price; empty likewise.
        milliseconds: Time of one decision without probes; None if it was not measured.
    """

    name: str
    routings: tuple[Routing, ...]
    estimates: tuple[Estimate, ...] = ()
    tables: tuple[Tradeoff, ...] = ()
    milliseconds: float | None = None


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one contender.

    Attributes:
        name: Its name.
        seeds: Number of estimator seeds, over which every figure is a mean.
        accuracy: Accuracy.
        tokens: Mean tokens per query, those of the estimator included.
        spent: Those of the estimator.
        gain: Accuracy above the hull of static mixtures at equal tokens: the primary figure.
        over_random: Accuracy above a blind routing with the same shares of λ.
        over_ends: Accuracy above a share of the queries at λ = 1 and the rest at λ = 0, at equal tokens.
        against_thinking: Accuracy minus that of λ = 1, paired by query.
        saving: Share of the tokens of λ = 1 that is saved.
        of_headroom: Share of what the cross-fitted oracle of each query wins over the hull; None if it wins
            nothing.
        of_table: Share of what the cross-fitted table of the groups wins over the hull; None likewise.
        metrics: Metrics of the whole curve, over all prices without a guard; None without an estimator.
        brier: Of success probabilities; None for scores.
        calibration_error: The same.
        auroc: Of the estimated gain from λ = 0 to λ = 1, for queries where the measured one is positive.
        histogram: Share of the queries that each λ gets.
        entropy: Entropy of that in bits.
        milliseconds: Time of one decision.
        verdict: One sentence.
        signatures: Failure signatures of the paper that were seen, each in one sentence.
    """

    name: str
    seeds: int
    accuracy: float
    tokens: float
    spent: float
    gain: Figure95
    over_random: Figure95
    over_ends: Figure95
    against_thinking: Figure95
    saving: Figure95
    of_headroom: float | None
    of_table: float | None
    metrics: CurveMetrics | None
    brier: float | None
    calibration_error: float | None
    auroc: float | None
    histogram: tuple[float, ...]
    entropy: float
    milliseconds: float | None
    verdict: str
    signatures: tuple[str, ...]


class Headroom(msgspec.Struct, frozen=True, kw_only=True):
    """What a cross-fitted oracle wins at Thinking's accuracy.

    Attributes:
        accuracy: Its accuracy.
        tokens: Its mean tokens.
        gain: Its accuracy above the hull at equal tokens.
        against_thinking: Its accuracy minus that of λ = 1.
        saving: Share of the tokens of λ = 1 that it saves.
    """

    accuracy: float
    tokens: float
    gain: Figure95
    against_thinking: Figure95
    saving: Figure95


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """All contenders on the same queries.

    Attributes:
        queries: Number of queries.
        samples: Answers to each query at each λ.
        lambdas: λ, ascending.
        static_accuracy: Accuracy of every λ.
        static_tokens: Mean tokens of every λ.
        co_failure: Share of the queries that no answer at any λ gets right.
        oracle: The best λ of each query, cross-fitted; None with one sample per cell.
        table: The best λ of each group, cross-fitted; None without groups or with one sample per cell.
        judged: The contenders, in the given order.
    """

    queries: int
    samples: float
    lambdas: tuple[Fraction, ...]
    static_accuracy: tuple[float, ...]
    static_tokens: tuple[float, ...]
    co_failure: float
    oracle: Headroom | None
    table: Headroom | None
    judged: tuple[Judged, ...]


def judge(examples: Examples, contenders: Sequence[Contender], *, seed: int = 0) -> Judgement:
    """Judge contenders on measured queries that none of them was fitted on.

    Args:
        examples: The queries.
        contenders: What is judged; every routing has the queries in this order.
        seed: Seed of the resamples.
    """
    drawn = draw(examples, seed=seed)
    halves = int(examples.samples.min()) > 1
    oracle = _headroom(examples, drawn, by_query) if halves else None
    grouped = halves and len(set(examples.groups)) > 1
    table = _headroom(examples, drawn, by_group(examples.groups)) if grouped else None
    return Judgement(
        queries=len(examples),
        samples=float(examples.samples.mean()),
        lambdas=examples.lambdas,
        static_accuracy=tuple(drawn.accuracy[0].tolist()),
        static_tokens=tuple(drawn.tokens[0].tolist()),
        co_failure=float((examples.correct.sum(axis=1) == 0).mean()),
        oracle=oracle,
        table=table,
        judged=tuple(_judged(each, examples, drawn, oracle, table) for each in contenders),
    )


def static_contenders(examples: Examples) -> list[Contender]:
    """Every λ for all queries."""
    count = len(examples.lambdas)
    return [
        Contender(f"λ = {float(lam):.2f}", (static(place, len(examples), count),))
        for place, lam in enumerate(examples.lambdas)
    ]


def _judged(
    contender: Contender, examples: Examples, drawn: Draws, oracle: Headroom | None, table: Headroom | None
) -> Judged:
    routing = over_seeds(contender.routings)
    accuracy, tokens = drawn.mean(routing.accuracy(examples)), drawn.mean(routing.tokens(examples))
    blind = matched_random(routing)
    gain = drawn.figure(gain_over_hull(drawn, routing, examples))
    curves = [each for each in contender.estimates if each.kind == "curves"]
    histogram = routing.histogram
    return Judged(
        name=contender.name,
        seeds=len(contender.routings),
        accuracy=float(accuracy[0]),
        tokens=float(tokens[0]),
        spent=float(routing.spent.mean()),
        gain=gain,
        over_random=drawn.figure(accuracy - drawn.mean(blind.accuracy(examples))),
        over_ends=drawn.figure(accuracy - ends_mixture(drawn, tokens)),
        against_thinking=drawn.figure(accuracy - drawn.accuracy[:, -1]),
        saving=drawn.figure(1 - tokens / np.maximum(drawn.tokens[:, -1], 1e-12)),
        of_headroom=_share(gain, oracle),
        of_table=_share(gain, table),
        metrics=_metrics(contender, examples),
        brier=_mean([brier(each.value, examples.accuracy) for each in curves]),
        calibration_error=_mean([calibration_error(each.value, examples.accuracy) for each in curves]),
        auroc=_need_auroc(contender, examples),
        histogram=tuple(histogram.tolist()),
        entropy=entropy(histogram),
        milliseconds=contender.milliseconds,
        verdict=verdict_of(gain, drawn.figure(accuracy - drawn.accuracy[:, -1])),
        signatures=signatures_of(routing, examples) if contender.estimates else (),
    )  # fmt: skip


def _headroom(examples: Examples, drawn: Draws, choose_by: Choose) -> Headroom:
    """The oracle at the price with the fewest tokens whose drop against λ = 1 is at most half a point."""
    best: tuple[float, Numbers, Numbers] | None = None
    for mu in _ORACLE_PRICES:
        accuracy, tokens = cross_fitted(examples, choose_by, mu)
        fine = accuracy.mean() >= examples.accuracy[:, -1].mean() - EQUAL_DROP
        if best is None or (fine and tokens.mean() < best[0]):
            best = (float(tokens.mean()), accuracy, tokens)
    assert best is not None, "there is at least one price"  # noqa: S101
    accuracy, tokens = drawn.mean(best[1]), drawn.mean(best[2])
    return Headroom(
        accuracy=float(accuracy[0]),
        tokens=float(tokens[0]),
        gain=drawn.figure(accuracy - drawn.hull(tokens)),
        against_thinking=drawn.figure(accuracy - drawn.accuracy[:, -1]),
        saving=drawn.figure(1 - tokens / np.maximum(drawn.tokens[:, -1], 1e-12)),
    )


def _metrics(contender: Contender, examples: Examples) -> CurveMetrics | None:
    """Metrics of the mean curve: each seed's prices in turn, without a guard."""
    if not contender.estimates or not contender.tables:
        return None
    points = []
    for estimate, table, routing in zip(
        contender.estimates, contender.tables, contender.routings, strict=True
    ):
        for mu in price_grid(estimate).tolist():
            places = choose(estimate, table.policy(mu, 0.0)).places
            own = routed(places, len(examples.lambdas), routing.spent)
            points.append((own.accuracy(examples).mean(), own.tokens(examples).mean()))
    accuracy, tokens = np.array(points).T
    means = examples.accuracy.mean(axis=0), examples.tokens.mean(axis=0)
    ends = Ends((float(means[0][0]), float(means[1][0])), (float(means[0][-1]), float(means[1][-1])))
    return curve_metrics(accuracy, tokens, ends)


def _need_auroc(contender: Contender, examples: Examples) -> float | None:
    """How well the estimated gain of λ = 1 over λ = 0 tells queries with a measured gain from the others."""
    need = examples.accuracy[:, -1] - examples.accuracy[:, 0] > 0
    found = [auroc(each.value[:, -1] - each.value[:, 0], need) for each in contender.estimates]
    return _mean([each for each in found if each is not None])


def _share(gain: Figure95, headroom: Headroom | None) -> float | None:
    return gain.value / headroom.gain.value if headroom is not None and headroom.gain.value > 0 else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
