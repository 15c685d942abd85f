"""The figures of an evaluation, drawn from its values."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dami_merge.lambdas import label
from dami_merge.report.page import Figure, figure, plotting
from dami_merge.report.style import FAINT, MAIN, SECOND, lambda_axis, number, wide

if TYPE_CHECKING:
    from altair import Color, LayerChart

    from dami_merge.estimators.judge.evaluated import EvaluationReport, LearningPoint, ShownQuery

QUERY_PREFIX = "query-"

_COLOURS = (MAIN, SECOND, "#4c9a5b", "#9467bd", "#b2182b", "#8c6d31", "#c5639c", FAINT)
_FRONTIER_HEIGHT, _HEIGHT, _SMALL, _BAR = 420, 300, 130, 26


def evaluation_figures(
    report: "EvaluationReport", learning: "Sequence[LearningPoint]" = ()
) -> tuple[Figure, ...]:
    """Draw the frontier, λ histograms, calibration, curves of some queries, and learning curves if given.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    figures = [_frontier(report), _histograms(report)]
    if any(row.calibration is not None for row in report.rows):
        figures.append(_calibration(report))
    if learning:
        figures.append(_learning(learning))
    figures += [_query(place, each, report) for place, each in enumerate(report.shown)]
    return tuple(figures)


def _named(names: Sequence[str]) -> "Color":
    """Colour rows by name, in the order of the table."""
    alt = plotting()
    colours = [_COLOURS[place % len(_COLOURS)] for place in range(len(names))]
    colour: Color = alt.Color(
        "name:N", sort=None, scale=alt.Scale(domain=list(names), range=colours),
        legend=alt.Legend(orient="top", title=None, columns=3),
    )  # fmt: skip
    return colour


def _frontier(report: "EvaluationReport") -> Figure:
    alt = plotting()
    static = [
        {"λ": label(each.lam), "accuracy": each.accuracy.value, "tokens": each.tokens.value}
        for each in report.static
    ]
    dials = [
        {"name": row.name, "order": place, "accuracy": point.accuracy, "tokens": point.tokens}
        for row in report.rows
        for place, point in enumerate(row.dialled.points)
    ]
    chosen = [
        {
            "name": row.name,
            "accuracy": row.judgement.accuracy.value,
            "tokens": row.judgement.tokens.value,
            "gain": 100 * row.judgement.over_hull.value,
        }
        for row in report.rows
    ]
    x = alt.X("tokens:Q", title="mean tokens, those of the estimator included", scale=alt.Scale(zero=True))
    y = alt.Y("accuracy:Q", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False))
    colour = _named([row.name for row in report.rows])
    tips = [number("tokens", ",.1f"), number("accuracy", ".1%")]
    fixed = alt.Chart(alt.Data(values=static))
    chart = alt.layer(
        fixed.mark_line(color=FAINT, strokeDash=[5, 4]).encode(x=x, y=y, order="tokens:Q"),
        fixed.mark_point(color=FAINT, filled=True, size=45, opacity=1).encode(
            x=x, y=y, tooltip=["λ:N", *tips]
        ),
        alt.Chart(alt.Data(values=dials))
        .mark_line(strokeWidth=1.5, opacity=0.7)
        .encode(x=x, y=y, color=colour, order="order:Q"),
        alt.Chart(alt.Data(values=chosen))
        .mark_point(filled=True, size=110, opacity=1, shape="diamond")
        .encode(
            x=x, y=y, color=colour,
            tooltip=["name:N", *tips, number("gain", "+.1f", title="points over the hull")],
        ),
    )  # fmt: skip
    caption = (
        "Each line is an estimator with its dial turned from accuracy to thrift, and the diamond is what it"
        " was asked for. The grey dots are static λ, which need no estimator."
    )
    return figure("frontier", "Accuracy against tokens", caption, wide(chart, _FRONTIER_HEIGHT))


def _histograms(report: "EvaluationReport") -> Figure:
    alt = plotting()
    values = [
        {"name": row.name, "λ": label(lam), "share": share}
        for row in report.rows
        for lam, share in zip(report.lambdas, row.judgement.histogram, strict=True)
    ]
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_rect()
        .encode(
            x=alt.X("λ:N", sort=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=110)),
            color=alt.Color(
                "share:Q",
                scale=alt.Scale(range=["#e8ecf1", MAIN], domain=[0, 1]),
                legend=alt.Legend(orient="top", title="share of queries", format="%"),
            ),
            tooltip=["name:N", "λ:N", number("share", ".1%")],
        )
    )
    caption = "Which λ the queries get. A router that sends all of them to one λ is a static λ."
    height = _BAR * len(report.rows)
    return figure("histograms", "Chosen λ", caption, wide(chart, height))


def _calibration(report: "EvaluationReport") -> Figure:
    alt = plotting()
    told = [row for row in report.rows if row.calibration is not None]
    values = [
        {"name": row.name, "predicted": each.predicted, "measured": each.measured, "share": each.share}
        for row in told
        for each in (() if row.calibration is None else row.calibration.bins)
    ]
    domain = alt.Scale(domain=[0, 1])
    x = alt.X("predicted:Q", title="predicted probability", scale=domain, axis=alt.Axis(format="%"))
    y = alt.Y("measured:Q", title="share of correct answers", scale=domain, axis=alt.Axis(format="%"))
    ends = [{"predicted": 0, "measured": 0}, {"predicted": 1, "measured": 1}]
    base = alt.Chart(alt.Data(values=values)).encode(x=x, y=y, color=_named([row.name for row in told]))
    chart = alt.layer(
        alt.Chart(alt.Data(values=ends)).mark_line(color=FAINT, strokeDash=[5, 4]).encode(x=x, y=y),
        base.mark_line(strokeWidth=1.5),
        base.mark_point(filled=True, size=50, opacity=1).encode(
            tooltip=[
                "name:N", number("predicted", ".1%"), number("measured", ".1%"),
                number("share", ".1%", title="of all predictions"),
            ]
        ),
    )  # fmt: skip
    caption = (
        "Predicted and measured success over all queries and λ, in tenths. The dashed line is the truth."
    )
    return figure("calibration", "Calibration", caption, wide(chart, _HEIGHT))


def _learning(learning: "Sequence[LearningPoint]") -> Figure:
    alt = plotting()
    values = [
        {
            "name": each.name,
            "queries": each.queries,
            "gain": 100 * each.over_hull.value,
            "low": None if each.over_hull.interval is None else 100 * each.over_hull.interval.low,
            "high": None if each.over_hull.interval is None else 100 * each.over_hull.interval.high,
        }
        for each in learning
    ]
    names = list(dict.fromkeys(each.name for each in learning))
    x = alt.X("queries:Q", title="training queries", scale=alt.Scale(type="log"), axis=alt.Axis(grid=False))
    base = alt.Chart(alt.Data(values=values)).encode(x=x, color=_named(names))
    gain = alt.Y("gain:Q", title="points over the hull")
    chart = alt.layer(
        base.mark_rule(opacity=0.45).encode(y=alt.Y("low:Q", title="points over the hull"), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=gain),
        base.mark_point(filled=True, size=55, opacity=1).encode(
            y=gain, tooltip=["name:N", number("queries", ","), number("gain", "+.1f")]
        ),
    )
    caption = (
        "The primary figure on the test questions, with its 95% interval, by number of training queries."
    )
    return figure("learning", "Learning curves", caption, wide(chart, _HEIGHT))


def _query(place: int, shown: "ShownQuery", report: "EvaluationReport") -> Figure:
    chart = _pair(shown, report)
    title = f"{shown.group or 'no group'}: λ {label(shown.chosen)}"
    return figure(f"{QUERY_PREFIX}{place}", title, "", wide(chart, _SMALL))


def _pair(shown: "ShownQuery", report: "EvaluationReport") -> "LayerChart":
    """Measured success as dots, predicted success as a line, the chosen λ as a rule."""
    alt = plotting()
    values = [
        {"λ": float(lam), "measured": measured, "predicted": predicted, "tokens": tokens, "cost": cost}
        for lam, measured, predicted, tokens, cost in zip(
            report.lambdas, shown.accuracy, shown.predicted, shown.tokens, shown.cost, strict=True
        )
    ]
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", tickCount=3)
    base = alt.Chart(alt.Data(values=values)).encode(x=lambda_axis())
    rule = alt.Chart(alt.Data(values=[{"λ": float(shown.chosen)}])).mark_rule(color=FAINT, strokeDash=[4, 3])
    layered: LayerChart = alt.layer(
        rule.encode(x=lambda_axis()),
        base.mark_line(color=MAIN, strokeWidth=2).encode(
            y=alt.Y("predicted:Q", title="success", axis=axis, scale=scale)
        ),
        base.mark_point(color=SECOND, filled=True, size=40, opacity=1).encode(
            y=alt.Y("measured:Q", axis=axis, scale=scale),
            tooltip=[
                number("λ", ".3f"), number("measured", ".0%"), number("predicted", ".0%"),
                number("tokens", ",.1f"), number("cost", ",.1f", title="predicted tokens"),
            ],
        ),
    )  # fmt: skip
    return layered
