"""The figures of a mode connectivity check, drawn from the values of a report."""

from typing import TYPE_CHECKING

from dami_merge.connectivity.naming import short_names
from dami_merge.connectivity.rounding import NOISY
from dami_merge.lambdas import label
from dami_merge.report.dial_figure import dial_figure
from dami_merge.report.page import Figure, figure, plotting
from dami_merge.report.style import FAINT, MAIN, lambda_axis, number, two_kinds, wide
from dami_merge.report.weights_figures import weights_figures

if TYPE_CHECKING:
    from dami_merge.connectivity.check import Check
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.rounding import RoundingReport


def lmc_figures(check: "Check") -> tuple[Figure, ...]:
    """Draw the figures for which there are numbers.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    report, path, difference, rounding = check.weights, check.path, check.difference, check.rounding
    figures = weights_figures(report)
    if rounding is not None and rounding.survival and (rounding.drowned or difference is not None):
        figures.append(_rounding(rounding))
    if path is not None:
        figures += [_loss(path), _steps(path)]
        figures += [] if path.dial is None else [dial_figure(path.dial)]
    if difference is not None:
        figures.append(_spectrum(difference))
    return tuple(figures)


def _loss(path: "PathReport") -> Figure:
    alt = plotting()
    first, last = path.points[0].loss, path.points[-1].loss
    names = ("measured", "straight line between the ends")
    rows = [{"λ": float(p.lam), "loss": p.loss, "curve": names[0]} for p in path.points]
    rows += [
        {"λ": float(p.lam), "loss": float(1 - p.lam) * first + float(p.lam) * last, "curve": names[1]}
        for p in path.points
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=lambda_axis(),
        y=alt.Y("loss:Q", title="loss per token, nats", scale=alt.Scale(zero=False)),
        color=two_kinds("curve", names),
        tooltip=[alt.Tooltip("curve:N", title="curve"), number("λ", ".3f"), number("loss", ".4f")],
    )
    dash = alt.StrokeDash(
        "curve:N",
        scale=alt.Scale(domain=names, range=[[1, 0], [5, 4]]),
        legend=alt.Legend(orient="top", title=None),
    )
    chart = wide(
        alt.layer(
            base.mark_line(strokeWidth=2).encode(strokeDash=dash), base.mark_point(filled=True, size=50)
        ),
        280,
    )
    caption = (
        "A barrier between two basins shows as a hump above the dashed line."
        f" Here, the loss rises at most {max(path.barrier_above_line, 0):.3f} nats above the line,"
        f" and {path.barrier:.3f} above the mean of both ends."
    )
    return figure("loss", "Loss on the path from Instruct to Thinking", caption, chart)


def _steps(path: "PathReport") -> Figure:
    alt = plotting()
    rows = [
        {
            "step": f"{label(step.start)} to {label(step.stop)}",
            "layer": "embeddings" if layer == 0 else f"after layer {layer - 1}",
            "cosine": cosine,
            "CKA": cka,
            "moved": max(1 - cosine, 0.0),
        }
        for step in path.steps
        for layer, (cosine, cka) in enumerate(zip(step.cosine, step.cka, strict=True))
    ]
    chart = wide(
        alt.Chart(alt.Data(values=rows))
        .mark_rect(stroke="#80808040")
        .encode(
            x=alt.X("step:N", title="step in λ", sort=None, axis=alt.Axis(labelAngle=-90)),
            y=alt.Y("layer:N", title="hidden states", sort=None),
            color=alt.Color(
                "moved:Q",
                title="1 - cosine",
                scale=alt.Scale(scheme="viridis", zero=True),
                legend=alt.Legend(orient="bottom", direction="horizontal", gradientLength=200, format=".1e"),
            ),
            tooltip=["step:N", "layer:N", number("cosine", ".6f"), number("CKA", ".6f")],
        ),
        22 * max(len(path.steps[0].cosine), 1),
    )
    caption = (
        "How far the hidden states of each layer move from one λ to the next. A single bright column among"
        f" dark ones is an abrupt switch. Here, the largest step is {path.abruptness:.1f} times the median."
    )
    return figure("steps", "How evenly the hidden states change", caption, chart)


def _rounding(rounding: "RoundingReport") -> Figure:
    alt = plotting()
    names = ("kept", "noise added")
    rows = [
        {"λ": float(each.lam), "share": value, "what": name}
        for each in rounding.survival
        for name, value in zip(names, (each.kept, each.noise), strict=True)
    ]
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(filled=True, size=50))
        .encode(
            x=lambda_axis(),
            y=alt.Y("share:Q", title="share of the difference", axis=alt.Axis(format="%")),
            color=two_kinds("what", names),
            tooltip=["what:N", number("λ", ".3f"), number("share", ".1%")],
        )
    )
    limit = (
        alt.Chart(alt.Data(values=[{"limit": NOISY}]))
        .mark_rule(color=FAINT, strokeDash=[5, 4])
        .encode(y=alt.Y("limit:Q", title="share of the difference"))
    )
    caption = (
        f"What a checkpoint at λ keeps of the difference after its rounding to {rounding.dtype}, and how much"
        f" noise rounding adds. Above the dashed line at {NOISY:.0%}, noise drowns the difference."
        f" {rounding.identical:.0%} of the elements are equal in both models."
    )
    return figure(
        "rounding", "What rounding leaves of the difference", caption, wide(alt.layer(limit, lines), 240)
    )


def _spectrum(difference: "DifferenceReport") -> Figure:
    alt = plotting()
    rows = []
    short = short_names({each.module for each in difference.spectra})
    for each in difference.spectra:
        before, tensor = 0.0, each.tensor.removesuffix(".weight")
        for rank, share in zip(difference.ranks, each.energy, strict=True):
            name = f"first {rank}"
            place = {"tensor": tensor, "kind": short[each.module], "directions": name}
            rows.append({**place, "share": share - before, "sum": share})
            before = share
    names = [f"first {rank}" for rank in difference.ranks]
    chart = wide(
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("sum(share):Q", title="share of the difference's energy", scale=alt.Scale(domain=[0, 1]),
                    axis=alt.Axis(format="%")),
            y=alt.Y("kind:N", title="kind of module", sort=None),
            color=alt.Color("directions:N", sort=names, scale=alt.Scale(range=("#17406d", MAIN, "#92c5de")),
                            legend=alt.Legend(orient="top", title="singular directions")),
            order=alt.Order("sum:Q"),
            tooltip=["tensor:N", "directions:N", alt.Tooltip("sum:Q", title="share", format=".1%")],
        ),
        20 * max(len(difference.spectra), 1),
    )  # fmt: skip
    caption = (
        "One matrix of each kind, from the middle of the model. A long dark bar means that the two models"
        " differ in only a few directions."
    )
    return figure("spectrum", "How few directions make up the difference", caption, chart)
