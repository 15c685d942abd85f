"""The figures of two models' weights: which modules differ in which layers, and how much."""

import bisect
import math
from typing import TYPE_CHECKING

from dami_merge.report.page import Figure, figure, plotting
from dami_merge.report.style import MAIN, number, two_kinds, wide

if TYPE_CHECKING:
    from dami_merge.connectivity.report import TensorReport, WeightsReport

LARGEST_DISTRIBUTION = 3_000
"""Maximum number of tensors in one figure; of more, those farthest apart are shown."""

_FLOOR = 1e-8
"""Values nearer to 0 are drawn here, since a logarithmic axis has no 0."""

_LIMITS = (0.95, 0.99, 0.999, 0.9999)
_BANDS = ("below 0.95", "0.95 to 0.99", "0.99 to 0.999", "0.999 to 0.9999", "0.9999 and above")
_COLOURS = ("#b2182b", "#ef8a62", "#f1c453", "#92c5de", "#2f76b8")
"""One for each band, from red to blue, which colour-blind readers can tell apart."""


def weights_figures(report: "WeightsReport") -> list[Figure]:
    """Draw the figures for which there are numbers.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    figures = [_heat(report), _distribution(report)]
    if any(layer.matrices and math.isfinite(layer.matrices.relative_distance) for layer in report.layers):
        figures.append(_change(report))
    return figures


def _heat(report: "WeightsReport") -> Figure:
    alt = plotting()
    rows = [
        {
            "layer": cell.layer,
            "module": cell.module,
            "band": _BANDS[bisect.bisect(_LIMITS, cell.similarity.cosine)],
            "cosine": cell.similarity.cosine,
            "distance": cell.similarity.relative_distance,
            "same sign": cell.similarity.sign_agreement,
            "identical": cell.similarity.identical,
            "largest change": cell.similarity.largest_change,
        }
        for cell in report.cells
    ]
    chart = wide(
        alt.Chart(alt.Data(values=rows))
        .mark_rect(stroke="#80808040", cornerRadius=2)
        .encode(
            x=alt.X("module:N", title=None, sort=None, axis=alt.Axis(labelAngle=-90, orient="top")),
            y=alt.Y("layer:N", title=None, sort=None),
            color=alt.Color(
                "band:N",
                scale=alt.Scale(domain=_BANDS, range=_COLOURS),
                legend=alt.Legend(orient="bottom", columns=3, title=None),
            ),
            tooltip=["layer:N", "module:N", number("cosine", ".6f"), number("distance", ".4f"),
                     number("same sign", ".1%"), number("identical", ".1%"),
                     number("largest change", ".3f")],
        ),
        18 * max(len({cell.layer for cell in report.cells}), 1),
    )  # fmt: skip
    caption = (
        "Cosine similarity of the matrices by layer and kind of module: blue is close, red is far apart. A"
        " single red row is a broken layer; red everywhere means different bases. Hover to see the values."
    )
    return figure("heat", "Where the two models differ", caption, chart)


def _distribution(report: "WeightsReport") -> Figure:
    alt = plotting()
    shown = _farthest(report)
    rows = [
        {
            "tensor": tensor.name,
            "module": tensor.module,
            "is": "matrix" if tensor.matrix else "norm or bias",
            "cosine": tensor.similarity.cosine,
            "apart": max(1 - tensor.similarity.cosine, _FLOOR),
        }
        for tensor in shown
    ]
    chart = wide(
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=55, opacity=0.6)
        .encode(
            x=alt.X("apart:Q", title="1 - cosine", scale=alt.Scale(type="log", nice=True),
                    axis=alt.Axis(format=".0e", tickCount=5, labelOverlap=True)),
            y=alt.Y("module:N", title=None, axis=alt.Axis(grid=True)),
            color=two_kinds("is", ("matrix", "norm or bias")),
            tooltip=["tensor:N", "is:N", number("cosine", ".7f")],
        ),
        20 * max(len({tensor.module for tensor in shown}), 1),
    )  # fmt: skip
    caption = (
        "Each dot is a tensor; the further right, the further apart. Equal tensors are drawn at 1e-8."
        + (
            f" Shown are the {len(shown):,} of {len(report.tensors):,} tensors that are farthest apart."
            if len(shown) < len(report.tensors)
            else ""
        )
    )
    return figure("distribution", "How far apart the tensors are", caption, chart)


def _farthest(report: "WeightsReport") -> "list[TensorReport]":
    held = [tensor for tensor in report.tensors if tensor.similarity.elements]
    return sorted(held, key=lambda tensor: tensor.similarity.cosine)[:LARGEST_DISTRIBUTION]


def _change(report: "WeightsReport") -> Figure:
    alt = plotting()
    rows = [
        {
            "layer": layer.name,
            "share": layer.matrices.relative_distance,
            "sign": layer.matrices.sign_agreement,
        }
        for layer in report.layers
        if layer.matrices is not None and math.isfinite(layer.matrices.relative_distance)
    ]
    chart = wide(
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color=MAIN, cornerRadiusEnd=2)
        .encode(
            x=alt.X("share:Q", title="|Thinking - Instruct| / |Instruct|", axis=alt.Axis(format="%")),
            y=alt.Y("layer:N", title=None, sort=None),
            tooltip=[
                "layer:N",
                alt.Tooltip("share:Q", title="distance", format=".3%"),
                alt.Tooltip("sign:Q", title="same sign", format=".1%"),
            ],
        ),
        16 * max(len(rows), 1),
    )
    caption = "Norm of the difference between the two models' matrices, relative to the norm of Instruct's."
    return figure("change", "How much each layer differs", caption, chart)
