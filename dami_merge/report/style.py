"""What all figures share: colours, how wide they are, how numbers are written."""

from typing import TYPE_CHECKING

from dami_merge.report.page import plotting

if TYPE_CHECKING:
    from altair import Chart, Color, LayerChart, Tooltip, X

MAIN, SECOND, FAINT = "#2f76b8", "#e07b39", "#8a939c"
"""Each has a contrast of 3 or more against a light and a dark ground."""


def wide(chart: "Chart | LayerChart", height: int) -> "Chart | LayerChart":
    """As wide as the page."""
    return chart.properties(width="container", height=height)


def number(field: str, form: str, *, title: str = "") -> "Tooltip":
    """A value that shows on hover, in d3's format."""
    tooltip: Tooltip = plotting().Tooltip(f"{field}:Q", format=form, title=title or field)
    return tooltip


def two_kinds(field: str, names: tuple[str, str]) -> "Color":
    """A legend over the figure for a field of two values."""
    alt = plotting()
    colour: Color = alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=names, range=(MAIN, SECOND)),
        legend=alt.Legend(orient="top", title=None),
    )
    return colour


def lambda_axis(*, title: str = "λ") -> "X":
    """λ from 0 to 1 with five steps."""
    alt = plotting()
    axis = alt.Axis(values=[0, 0.2, 0.4, 0.6, 0.8, 1], format=".1f", grid=False)
    x: X = alt.X("λ:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=axis)
    return x
