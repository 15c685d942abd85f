"""What all figures share: colours, widths and number formats."""

from typing import TYPE_CHECKING

from dami_merge.report.page import plotting

if TYPE_CHECKING:
    from altair import Chart, Color, LayerChart, Tooltip, X

MAIN, SECOND, FAINT = "#2f76b8", "#e07b39", "#8a939c"
"""Each has a contrast of at least 3 against a light and against a dark background."""


def wide(chart: "Chart | LayerChart", height: int) -> "Chart | LayerChart":
    """Make a chart as wide as the page."""
    return chart.properties(width="container", height=height)


def number(field: str, form: str, *, title: str = "") -> "Tooltip":
    """Show a value on hover, in d3's number format."""
    tooltip: Tooltip = plotting().Tooltip(f"{field}:Q", format=form, title=title or field)
    return tooltip


def two_kinds(field: str, names: tuple[str, str]) -> "Color":
    """Colour a field of two values, with a legend above the figure."""
    alt = plotting()
    colour: Color = alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=names, range=(MAIN, SECOND)),
        legend=alt.Legend(orient="top", title=None),
    )
    return colour


def lambda_axis(*, title: str = "λ") -> "X":
    """Draw the axis of λ from 0 to 1 in five steps."""
    alt = plotting()
    axis = alt.Axis(values=[0, 0.2, 0.4, 0.6, 0.8, 1], format=".1f", grid=False)
    x: X = alt.X("λ:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=axis)
    return x
