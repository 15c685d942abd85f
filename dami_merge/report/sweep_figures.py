"""The figures of a sweep, drawn from the values of its summary."""

from typing import TYPE_CHECKING

from dami_merge.lambdas import label
from dami_merge.report.labels import Spot, anchor, place_labels
from dami_merge.report.page import Figure, figure, plotting
from dami_merge.report.style import FAINT, MAIN, SECOND, lambda_axis, number, wide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from altair import Chart, LayerChart, X, Y

    from dami_merge.evaluation.statistics.lambda_summary import LambdaSummary
    from dami_merge.evaluation.statistics.point import Point
    from dami_merge.evaluation.statistics.summary import Comparison, Section, SweepReport

GROUP_PREFIX = "group-"

_CURVE_HEIGHT, _FRONTIER_HEIGHT, _GROUP_HEIGHT = 260, 380, 120
_KINDS = ("on the frontier", "dominated")
_STATES = ("closed", "closed by another tag", "left open", "no thinking block")
_STATE_COLOURS = (MAIN, SECOND, "#b2182b", "#c9ced4")


def sweep_figures(report: "SweepReport") -> tuple[Figure, ...]:
    """Draw the frontier, accuracy and tokens over λ, how the thinking block ended, and each group.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    rows = report.overall.rows
    figures = [_accuracy(rows), _tokens(rows)]
    if report.overall.comparison is not None:
        figures.insert(0, _frontier(report.overall.comparison))
    figures.append(_thinking(rows))
    figures += [_group(number, section) for number, section in enumerate(report.groups)]
    return tuple(figures)


def _values(rows: "Sequence[LambdaSummary]") -> list[dict[str, object]]:
    return [
        {
            "λ": float(row.lam),
            "accuracy": row.accuracy,
            "low": row.accuracy_interval.low,
            "high": row.accuracy_interval.high,
            "tokens": row.tokens,
            "fewest": row.tokens if row.tokens_interval is None else row.tokens_interval.low,
            "most": row.tokens if row.tokens_interval is None else row.tokens_interval.high,
            "median": row.median_tokens,
            "questions": row.questions,
            "samples": row.samples,
        }
        for row in rows
    ]


def _curve(values: list[dict[str, object]], what: str, ends: tuple[str, str], form: str) -> "LayerChart":
    """Draw a line with dots on it and its interval behind it."""
    alt = plotting()
    axis = alt.Axis(format="%" if form.endswith("%") else "~s")
    tooltip = [
        number("λ", ".3f"), number(what, form), number(ends[0], form, title="from"),
        number(ends[1], form, title="to"), number("questions", ","), number("samples", ","),
    ]  # fmt: skip
    base = alt.Chart(alt.Data(values=values)).encode(x=lambda_axis())
    band = base.mark_area(color=MAIN, opacity=0.18).encode(
        y=alt.Y(f"{ends[0]}:Q", title=what, axis=axis), y2=f"{ends[1]}:Q"
    )
    line = base.mark_line(color=MAIN, strokeWidth=2).encode(y=f"{what}:Q")
    dots = base.mark_point(color=MAIN, filled=True, size=55, opacity=1).encode(y=f"{what}:Q", tooltip=tooltip)
    layered: LayerChart = alt.layer(band, line, dots)
    return layered


def _accuracy(rows: "Sequence[LambdaSummary]") -> Figure:
    chart = _curve(_values(rows), "accuracy", ("low", "high"), ".1%")
    caption = (
        "Share of correct answers; each question counts once. The band is a 95% Wilson interval that allows"
        " for samples of the same question not being independent."
    )
    return figure("accuracy", "Accuracy over λ", caption, wide(chart, _CURVE_HEIGHT))


def _tokens(rows: "Sequence[LambdaSummary]") -> Figure:
    alt = plotting()
    values = _values(rows)
    median = (
        alt.Chart(alt.Data(values=values))
        .mark_line(color=FAINT, strokeDash=[4, 4])
        .encode(x=lambda_axis(), y="median:Q")
    )
    chart = alt.layer(_curve(values, "tokens", ("fewest", "most"), ",.1f"), median)
    caption = (
        "Generated tokens per answer: the mean with its 95% interval, and the median (dashed). A truncated"
        " answer costs the whole cap."
    )
    return figure("tokens", "Tokens over λ", caption, wide(chart, _CURVE_HEIGHT))


def _dots(comparison: "Comparison") -> "list[dict[str, object]]":
    """Return what the frontier shows of each λ."""
    standing = {each.lam: each for each in comparison.pareto.standings}
    served = set() if comparison.serving is None else set(comparison.serving.lambdas)
    return [
        {
            "λ": label(point.lam),
            "accuracy": point.accuracy,
            "tokens": point.tokens,
            "is": _KINDS[bool(standing[point.lam].dominated_by)],
            "beaten by": ", ".join(map(label, standing[point.lam].dominated_by)) or "none",
            "on the frontier in": standing[point.lam].frontier_share,
            "worth serving": "yes" if point.lam in served else "no",
            "on the hull": point.lam in comparison.pareto.hull,
        }
        for point in comparison.points
    ]


def _frontier(comparison: "Comparison") -> Figure:
    alt = plotting()
    values = _dots(comparison)
    front = [value for value in values if value["is"] == _KINDS[0]]
    hull = [value for value in values if value["on the hull"]]
    most, low, high = _frame(comparison.points)
    x = alt.X("tokens:Q", title="mean generated tokens", scale=alt.Scale(domain=[0, most], nice=False))
    y = alt.Y(
        "accuracy:Q",
        title="accuracy",
        axis=alt.Axis(format="%"),
        scale=alt.Scale(domain=[low, high], nice=False),
    )

    def line(of: "Sequence[Mapping[str, object]]") -> "Chart":
        drawn: Chart = alt.Chart(alt.Data(values=list(of)))
        return drawn.encode(x=x, y=y, order="tokens:Q")

    base = alt.Chart(alt.Data(values=values)).encode(x=x, y=y)
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(
        color=alt.Color("is:N", scale=alt.Scale(domain=_KINDS, range=(MAIN, SECOND)),
                        legend=alt.Legend(orient="top", title=None)),
        shape=alt.Shape("is:N", scale=alt.Scale(domain=_KINDS, range=("circle", "diamond")),
                        legend=alt.Legend(orient="top", title=None)),
        tooltip=["λ:N", number("accuracy", ".1%"), number("tokens", ",.1f"), "is:N",
                 alt.Tooltip("beaten by:N", title="dominated by"),
                 number("on the frontier in", ".0%", title="frontier share"), "worth serving:N"],
    )  # fmt: skip
    labels = _labels(comparison.points)
    names = alt.Chart(alt.Data(values=labels)).mark_text(
        align=alt.ExprRef("datum.align"), dx=alt.ExprRef("datum.dx"), dy=alt.ExprRef("datum.dy"),
        baseline="middle", fontSize=12,
    ).encode(x=x, y=y, text="label:N")  # fmt: skip
    chart = alt.layer(
        line(hull).mark_line(color=FAINT, strokeDash=[5, 4], strokeWidth=1.5),
        line(front).mark_line(color=MAIN, strokeWidth=1.5, interpolate="step-after"),
        *_leaders(labels, x, y),
        dots,
        names,
    )  # fmt: skip
    caption = (
        "Up and to the left is better. The solid steps join the λ that no other λ dominates: the best single"
        " λ for each token budget. The dashed hull is the best that splitting the queries between two λ can"
        " reach."
    )
    return figure("frontier", "Accuracy against tokens", caption, wide(chart, _FRONTIER_HEIGHT))


def _frame(points: "Sequence[Point]") -> tuple[float, float, float]:
    """Return the largest tokens and the range of accuracy to show, with room for labels on all sides."""
    low, high = (pick(point.accuracy for point in points) for pick in (min, max))
    room = max(high - low, 0.05) / 8
    return max(1.15 * max(point.tokens for point in points), 1.0), low - room, high + room


def _labels(points: "Sequence[Point]") -> list[dict[str, object]]:
    most, low, high = _frame(points)
    spots = [
        Spot(point.tokens / most, _FRONTIER_HEIGHT * (high - point.accuracy) / (high - low), label(point.lam))
        for point in points
    ]
    found = []
    for each in place_labels(spots, height=_FRONTIER_HEIGHT):
        x, y = anchor(spots, each)
        value = {"label": each.text, "dx": each.dx, "dy": each.dy, "align": each.align, "led": each.led}
        accuracy = high - y / _FRONTIER_HEIGHT * (high - low)
        found.append({**value, "tokens": x * most, "accuracy": accuracy})
    return found


def _leaders(labels: "list[dict[str, object]]", x: "X", y: "Y") -> "list[Chart]":
    """Draw short lines to labels that are not where most are; none if there are no such labels."""
    alt = plotting()
    led = [{**each, "end": each["tokens"], "top": each["accuracy"]} for each in labels if each["led"]]
    rules = alt.Chart(alt.Data(values=led)).mark_rule(
        color=FAINT, x2Offset=alt.ExprRef("datum.dx * 0.8"), y2Offset=alt.ExprRef("datum.dy * 0.6"),
    )  # fmt: skip
    return [rules.encode(x=x, y=y, x2="end", y2="top")] if led else []


def _thinking(rows: "Sequence[LambdaSummary]") -> Figure:
    alt = plotting()
    values = [
        {"λ": label(row.lam), "state": state, "share": share, "order": order, "cut": row.cut}
        for row in rows
        for order, (state, share) in enumerate(zip(_STATES, _shares(row), strict=True))
    ]
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_bar()
        .encode(
            x=alt.X("λ:N", sort=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("share:Q", title="share of answers", axis=alt.Axis(format="%"), stack=True,
                    scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("state:N", scale=alt.Scale(domain=_STATES, range=_STATE_COLOURS),
                            legend=alt.Legend(orient="top", title=None, columns=2)),
            order="order:Q",
            tooltip=["λ:N", "state:N", number("share", ".1%"), number("cut", ".1%", title="cut at the cap")],
        )
    )  # fmt: skip
    caption = "How the thinking block ended. Where it appears all at once, λ is a switch, not a dial."
    return figure("thinking", "The thinking block over λ", caption, wide(chart, _CURVE_HEIGHT))


def _shares(row: "LambdaSummary") -> tuple[float, ...]:
    """Return the shares of `_STATES`; rounding could put the last one below 0."""
    shares = (row.closed, row.wrong_tag, row.unclosed)
    return *shares, max(0.0, 1 - sum(shares))


def _group(place: int, section: "Section") -> Figure:
    alt = plotting()
    base = alt.Chart(alt.Data(values=_values(section.rows))).encode(x=lambda_axis())
    share = alt.Y(
        "low:Q", title="accuracy", axis=alt.Axis(format="%", tickCount=3), scale=alt.Scale(domain=[0, 1])
    )
    chart = alt.layer(
        base.mark_area(color=MAIN, opacity=0.18).encode(y=share, y2="high:Q"),
        base.mark_line(color=MAIN, strokeWidth=2).encode(y="accuracy:Q"),
        base.mark_point(color=MAIN, filled=True, size=30, opacity=1).encode(
            y="accuracy:Q",
            tooltip=[number("λ", ".3f"), number("accuracy", ".1%"), number("tokens", ",.1f")],
        ),
    )
    noun = "question" if section.questions == 1 else "questions"
    title = f"{section.group or 'no group'} ({section.questions:,} {noun})"
    return figure(f"{GROUP_PREFIX}{place}", title, "", wide(chart, _GROUP_HEIGHT))
