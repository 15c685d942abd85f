"""The figures of two models' weights: which modules differ in which layers, and how much."""

import math
from typing import TYPE_CHECKING

from dami_merge.connectivity.naming import by_stack, short_names
from dami_merge.report.page import Figure, figure, plotting
from dami_merge.report.style import MAIN, number, two_kinds, wide

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dami_merge.connectivity.report import TensorReport, WeightsReport

LARGEST_DISTRIBUTION = 3_000
"""Maximum number of tensors in one figure; of more, those farthest apart are shown."""

_FLOOR = 1e-8
"""Values nearer to 0 are drawn here, since a logarithmic axis has no 0."""

_COLOURS = ("#2f76b8", "#92c5de", "#f1c453", "#ef8a62", "#b2182b")
"""From blue to red, which colour-blind readers can tell apart: 1 - cosine of 1e-4 or less, 1e-3, … 1."""

_DECADES = (1e-3, 1e-2, 1e-1, 1.0)
_PLAIN_ONE = "datum.value == 1 ? '1' : format(datum.value, '.0e')"


def weights_figures(report: "WeightsReport") -> list[Figure]:
    """Draw the figures for which there are numbers.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    figures = [*_heats(report), _distribution(report)]
    if any(layer.matrices and math.isfinite(layer.matrices.relative_distance) for layer in report.layers):
        figures.append(_change(report))
    return figures


def _heats(report: "WeightsReport") -> "Iterator[Figure]":
    """Draw a heat map for every stack of layers; one of all tensors if the model has no numbered layers."""
    worst = report.worst_in_cells
    layers = list(dict.fromkeys(layer for layer, _ in worst))
    stacks = by_stack(layers) or {"": layers}
    for number_of_it, (stack, names) in enumerate(stacks.items()):
        title = f"Where the two models differ: {stack}" if len(stacks) > 1 else "Where the two models differ"
        inside = {cell: each for cell, each in worst.items() if cell[0] in set(names)}
        yield _heat("heat" if number_of_it == 0 else f"heat-{number_of_it + 1}", title, stack, inside)


def _heat(name: str, title: str, stack: str, worst: "Mapping[tuple[str, str], TensorReport]") -> Figure:
    alt = plotting()
    short = short_names({kind for _, kind in worst})
    closest = max(1 - max(each.similarity.cosine for each in worst.values()), _FLOOR)
    decades = (min(1e-4, 10 ** math.floor(math.log10(closest))), *_DECADES)
    rows = [
        {
            "layer": layer,
            "number": layer.removeprefix(f"{stack}."),
            "module": kind,
            "kind": short[kind],
            "worst matrix": each.name,
            "apart": max(1 - each.similarity.cosine, _FLOOR),
            "cosine": each.similarity.cosine,
            "distance": each.similarity.relative_distance,
            "same sign": each.similarity.sign_agreement,
            "identical": each.similarity.identical,
            "largest change": each.similarity.largest_change,
        }
        for (layer, kind), each in worst.items()
    ]
    chart = wide(
        alt.Chart(alt.Data(values=rows))
        .mark_rect(stroke="#80808040", cornerRadius=1)
        .encode(
            x=alt.X("number:N", title=f"layer of {stack}" if stack else "layer", sort=None,
                    axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=4)),
            y=alt.Y("kind:N", title="kind of module", sort=None),
            color=alt.Color(
                "apart:Q",
                title="1 - cosine of the worst matrix",
                scale=alt.Scale(type="log", domain=decades, range=_COLOURS,
                                clamp=True, interpolate="rgb"),
                legend=alt.Legend(orient="bottom", direction="horizontal", gradientLength=240,
                                  values=decades, labelOverlap=False, labelExpr=_PLAIN_ONE),
            ),
            tooltip=["layer:N", "module:N", "worst matrix:N", number("cosine", ".6f"),
                     number("distance", ".4f"), number("same sign", ".1%"), number("identical", ".1%"),
                     number("largest change", ".3f")],
        ),
        22 * max(len(short), 1),
    )  # fmt: skip
    caption = (
        "Each cell is the worst matrix of a kind in a layer, or its worst expert: blue is close, yellow is a"
        " cosine of 0.99, red is far apart. A single red cell is a broken matrix, a red column a broken"
        " layer; red everywhere means different bases. Hover to see the values."
    )
    return figure(name, title, caption, chart)


def _distribution(report: "WeightsReport") -> Figure:
    alt = plotting()
    held = _held(report)
    shown = held[:LARGEST_DISTRIBUTION]
    short = short_names({tensor.module for tensor in shown})
    rows = [
        {
            "tensor": tensor.name,
            "module": short[tensor.module],
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
                    axis=alt.Axis(format=".0e", tickCount=5, labelOverlap=True, labelSeparation=8)),
            y=alt.Y("module:N", title="kind of module", axis=alt.Axis(grid=True)),
            color=two_kinds("is", ("matrix", "norm or bias")),
            tooltip=["tensor:N", "is:N", number("cosine", ".7f")],
        ),
        20 * max(len({tensor.module for tensor in shown}), 1),
    )  # fmt: skip
    caption = (
        "Each dot is a tensor; the further right, the further apart. Equal tensors are drawn at 1e-8."
        + (
            f" Shown are the {len(shown):,} of {len(held):,} tensors and experts that are farthest apart."
            if len(shown) < len(held)
            else ""
        )
    )
    return figure("distribution", "How far apart the tensors are", caption, chart)


def _held(report: "WeightsReport") -> "list[TensorReport]":
    """Return every matrix, expert and vector, the farthest first."""
    vectors = [each for each in report.tensors if each.similarity.elements and not each.matrix]
    return sorted((*report.matrices, *vectors), key=lambda tensor: tensor.similarity.cosine)


def _change(report: "WeightsReport") -> Figure:
    alt = plotting()
    short = short_names({layer.name for layer in report.layers})
    rows = [
        {
            "layer": layer.name,
            "short": short[layer.name],
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
            x=alt.X(
                "share:Q",
                title="|Thinking - Instruct| / |Instruct|",
                axis=alt.Axis(format="%", tickCount=5, labelOverlap=True, labelSeparation=8),
            ),
            y=alt.Y("short:N", title="layer", sort=None),
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
