"""The figure of a dial or a switch: how answers begin at every λ, and where prompts turn."""

import itertools
from typing import TYPE_CHECKING

from dami_merge.connectivity.dial_advice import dial_fact
from dami_merge.report.page import Figure, figure, plotting
from dami_merge.report.style import FAINT, MAIN, lambda_axis, number, wide

if TYPE_CHECKING:
    from dami_merge.connectivity.dial import Dial


def dial_figure(dial: "Dial") -> Figure:
    """Draw the share of answers that begin as Thinking's, above the prompts that turn at each λ."""
    alt = plotting()
    points = [{"λ": float(lam), "share": share} for lam, share in zip(dial.lambdas, dial.share, strict=True)]
    turned = [
        {"λ": float(low), "to": float(high), "prompts": count, "share of prompts": count / len(dial.starts)}
        for (low, high), count in zip(itertools.pairwise(dial.lambdas), dial.flips, strict=True)
    ]
    axis = alt.Axis(format="%")
    bars = (
        alt.Chart(alt.Data(values=turned))
        .mark_rect(color=FAINT, opacity=0.35)
        .encode(
            x=lambda_axis(),
            x2="to:Q",
            y=alt.Y("share of prompts:Q", title="share", axis=axis, scale=alt.Scale(domain=[0, 1])),
            y2=alt.datum(0),
            tooltip=[number("λ", ".3f"), number("to", ".3f"), "prompts:Q"],
        )
    )
    line = (
        alt.Chart(alt.Data(values=points))
        .mark_line(strokeWidth=2, color=MAIN, point=alt.OverlayMarkDef(filled=True, size=50, color=MAIN))
        .encode(
            x=lambda_axis(),
            y=alt.Y("share:Q", title="share", axis=axis),
            tooltip=[number("λ", ".3f"), number("share", ".1%")],
        )
    )
    fact = dial_fact(dial)
    caption = (
        "Line: the probability that an answer begins as Thinking's does, averaged over the"
        f" {len(dial.starts)} prompts, at temperature {dial.temperature:g}. Bars: the share of the prompts"
        f" whose most likely beginning turns into Thinking's there. {fact[0].upper()}{fact[1:]}."
    )
    return figure("dial", "How answers begin", caption, wide(alt.layer(bars, line), 240))
