"""The values that figures draw, without a browser: right numbers under right names."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dami_merge.connectivity.check import Check
from dami_merge.connectivity.difference import DifferenceReport, Spectrum
from dami_merge.connectivity.path import PathPoint, PathReport, PathStep
from dami_merge.connectivity.report import CellReport, WeightsReport
from dami_merge.evaluation.statistics.summary import SweepReport, summarise
from dami_merge.report.lmc_figures import lmc_figures
from dami_merge.report.page import Figure, svg
from dami_merge.report.sweep_figures import sweep_figures
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.evaluation.simulated import rollout
from tests.pairs import weights_of

Values = list[dict[str, Any]]


@pytest.fixture
def report(tmp_path: Path) -> WeightsReport:
    tensors = random_tensors(seed=0)
    sides = (write_checkpoint(tmp_path / "a", tensors), write_checkpoint(tmp_path / "b", near(tensors)))
    return weights_of(*map(str, sides))


def _values(figures: tuple[Figure, ...], name: str) -> list[Values]:
    """Of every layer of a figure, in the order in which they are drawn."""
    (found,) = (each for each in figures if each.name == name)
    return _of(found.spec)


def _of(spec: Mapping[str, Any]) -> list[Values]:
    own = [spec["data"]["values"]] if "data" in spec else []
    return own + [values for layer in spec.get("layer", ()) for values in _of(layer)]


def test_a_cell_of_the_heat_map_is_the_worst_matrix_of_its_kind_in_its_layer(report: WeightsReport) -> None:
    name = "model.layers.1.mlp.experts.{}.up_proj.weight"
    (base,) = (each for each in report.tensors if each.name == "model.layers.1.mlp.up_proj.weight")
    kind = "mlp.experts.*.up_proj"
    experts = tuple(
        replace(base, name=name.format(n), module=kind, similarity=replace(base.similarity, cosine=cosine))
        for n, cosine in enumerate((0.999, -0.5, 0.99))
    )
    cell = CellReport(base.layer, kind, base.similarity)
    made = replace(report, tensors=(*report.tensors, *experts), cells=(*report.cells, cell))
    (values,) = _values(lmc_figures(Check(made)), "heat")
    (worst,) = (value for value in values if value["module"] == kind)
    assert (worst["worst matrix"], worst["apart"], worst["number"]) == (name.format(1), 1.5, "1")
    assert {value["layer"] for value in values} == {"model.layers.0", "model.layers.1"}


def test_every_tower_has_a_heat_map_of_its_own(report: WeightsReport) -> None:
    tensors = [
        replace(each, layer=each.layer.replace("model.layers.1", "model.visual.blocks.0"))
        for each in report.tensors
    ]
    cells = [
        replace(each, layer=each.layer.replace("model.layers.1", "model.visual.blocks.0"))
        for each in report.cells
    ]
    figures = lmc_figures(Check(replace(report, tensors=tuple(tensors), cells=tuple(cells))))
    assert [each.title for each in figures if each.name.startswith("heat")] == [
        "Where the two models differ: model.layers",
        "Where the two models differ: model.visual.blocks",
    ]
    assert [each.name for each in figures][:2] == ["heat", "heat-2"]


def test_a_model_without_numbered_layers_has_one_heat_map_of_its_tensors(report: WeightsReport) -> None:
    only = [each for each in report.tensors if each.name == "lm_head.weight"]
    cells = [cell for cell in report.cells if cell.layer == "lm_head"]
    figures = lmc_figures(Check(replace(report, tensors=tuple(only), cells=tuple(cells))))
    assert [value["layer"] for value in _values(figures, "heat")[0]] == ["lm_head"]


def test_the_colours_reach_down_to_the_closest_matrix(report: WeightsReport) -> None:
    near = [replace(each, similarity=replace(each.similarity, cosine=1 - 3e-7)) for each in report.tensors]
    (heat, *_) = lmc_figures(Check(replace(report, tensors=tuple(near))))
    assert _scale(heat)[0] == pytest.approx(1e-7)
    (heat, *_) = lmc_figures(Check(report))
    assert _scale(heat) == [1e-4, 1e-3, 1e-2, 1e-1, 1]


def _scale(heat: Figure) -> list[float]:
    encoding: Any = heat.spec["encoding"]
    return list(encoding["color"]["scale"]["domain"])


def test_a_tensor_is_drawn_by_how_far_apart_it_is_and_equal_ones_at_the_floor(report: WeightsReport) -> None:
    far, same, *others = report.tensors
    same = replace(same, similarity=replace(same.similarity, cosine=1.0))
    far = replace(far, similarity=replace(far.similarity, cosine=0.25))
    (values,) = _values(lmc_figures(Check(replace(report, tensors=(same, *others, far)))), "distribution")
    assert (values[0]["tensor"], values[0]["apart"]) == (far.name, 0.75)
    assert (values[-1]["tensor"], values[-1]["apart"]) == (same.name, 1e-8)
    kinds = {tensor.name: "matrix" if tensor.matrix else "norm or bias" for tensor in report.tensors}
    assert {value["tensor"]: value["is"] for value in values} == kinds
    assert set(kinds.values()) == {"matrix", "norm or bias"}


def test_a_layer_whose_change_has_no_size_is_left_out(report: WeightsReport) -> None:
    first, second, *others = report.layers
    assert first.matrices is not None
    infinite = replace(first, matrices=replace(first.matrices, relative_distance=float("inf")))
    layers = (infinite, replace(second, matrices=None), *others)
    (values,) = _values(lmc_figures(Check(replace(report, layers=layers))), "change")
    assert [value["layer"] for value in values] == [each.name for each in others if each.matrices]
    names = [each.name for each in lmc_figures(Check(replace(report, layers=(infinite,))))]
    assert names == ["heat", "distribution"]


def test_a_path_is_drawn_beside_the_line_between_its_ends_and_step_by_step(report: WeightsReport) -> None:
    lambdas = (Fraction(0), Fraction(1, 3), Fraction(1))
    path = PathReport(
        1,
        9,
        tuple(PathPoint(lam, loss) for lam, loss in zip(lambdas, (2.0, 5.0, 1.0), strict=True)),
        (
            PathStep(lambdas[0], lambdas[1], (1.0, 0.75), (1.0, 0.5)),
            PathStep(lambdas[1], lambdas[2], (1.5, 0.5), (1.0, 0.25)),
        ),
        3.5,
        3.33,
        lambdas[1],
    )
    figures = lmc_figures(Check(report, path, None))
    values = _values(figures, "loss")[0]
    measured = [(value["λ"], value["loss"]) for value in values if value["curve"] == "measured"]
    line = [value["loss"] for value in values if value["curve"] != "measured"]
    assert measured == [(0.0, 2.0), (pytest.approx(1 / 3), 5.0), (1.0, 1.0)]
    assert line == pytest.approx([2.0, 5 / 3, 1.0])
    (steps,) = _values(figures, "steps")
    assert [(value["step"], value["layer"], value["moved"], value["CKA"]) for value in steps] == [
        ("0.00 to 1of3", "embeddings", 0.0, 1.0),
        ("0.00 to 1of3", "after layer 0", 0.25, 0.5),
        ("1of3 to 1.00", "embeddings", 0.0, 1.0),
        ("1of3 to 1.00", "after layer 0", 0.5, 0.25),
    ]


def test_a_spectrum_is_drawn_as_parts_that_add_up(report: WeightsReport) -> None:
    spectrum = Spectrum("layers.0.up.weight", "up", (8, 8), 8, (0.25, 0.5, 1.0))
    (values,) = _values(
        lmc_figures(Check(report, None, DifferenceReport((1, 4, 16), (spectrum,)))), "spectrum"
    )
    assert [(value["tensor"], value["directions"], value["share"], value["sum"]) for value in values] == [
        ("layers.0.up", "first 1", 0.25, 0.25),
        ("layers.0.up", "first 4", 0.25, 0.5),
        ("layers.0.up", "first 16", 0.5, 1.0),
    ]


@pytest.fixture
def swept() -> SweepReport:
    """λ, right of ten, tokens of some and of the others; 1/3 is on the frontier and below the hull."""
    cells = (("0", 2, 10, 12), ("1/3", 4, 60, 80), ("2/3", 3, 90, 95), ("1", 9, 100, 140))
    return summarise(
        [
            rollout(f"q{n}", lam, correct=n < right, tokens=many if n % 3 else few)
            for lam, right, few, many in cells
            for n in range(10)
        ],
        seed=0,
        resamples=50,
        loss=0.3,
    )


def test_the_frontier_names_what_is_beaten_what_is_served_and_joins_only_the_best(swept: SweepReport) -> None:
    figures = sweep_figures(swept)
    assert [each.name for each in figures] == ["frontier", "accuracy", "tokens", "thinking"]
    hull, front, *_, dots, names = _values(figures, "frontier")
    assert [value["λ"] for value in front] == ["0.00", "1of3", "1.00"]
    assert [value["λ"] for value in hull] == ["0.00", "1.00"]
    assert [value["label"] for value in names] == ["0.00", "1of3", "2of3", "1.00"]
    assert [(value["λ"], value["is"], value["beaten by"], value["worth serving"]) for value in dots] == [
        ("0.00", "on the frontier", "none", "yes"),
        ("1of3", "on the frontier", "none", "no"),
        ("2of3", "dominated", "1of3", "no"),
        ("1.00", "on the frontier", "none", "yes"),
    ]


def test_curves_have_the_means_the_medians_and_the_intervals_of_the_rows(swept: SweepReport) -> None:
    figures = sweep_figures(swept)
    (band, *_), curve = _values(figures, "accuracy"), swept.overall.rows
    for value, row in zip(band, curve, strict=True):
        assert (value["λ"], value["accuracy"]) == (float(row.lam), row.accuracy)
        assert (value["low"], value["high"]) == (row.accuracy_interval.low, row.accuracy_interval.high)
        assert row.tokens_interval is not None
        assert (value["fewest"], value["most"]) == (row.tokens_interval.low, row.tokens_interval.high)
        assert (value["tokens"], value["median"]) == (row.tokens, row.median_tokens)
        assert row.tokens != row.median_tokens


def test_a_single_question_has_no_band_of_tokens() -> None:
    figures = sweep_figures(summarise([rollout("q", "1/3", tokens=7)], seed=0, resamples=5))
    (value,) = _values(figures, "tokens")[0]
    assert (value["fewest"], value["tokens"], value["most"]) == (7, 7, 7)


def test_every_exported_figure_has_a_title_and_a_title_on_each_axis(swept: SweepReport) -> None:
    rows = [
        rollout(f"{group}{n}", lam, correct=n < 5, group=group)
        for group in "ab"
        for lam in ("0", "1")
        for n in range(10)
    ]
    grouped = sweep_figures(summarise(rows, seed=0, resamples=50))
    assert [each.name for each in grouped][-2:] == ["group-0", "group-1"]
    for each in (*sweep_figures(swept), *grouped):
        text = "".join(ET.fromstring(svg(each)).itertext())
        labels = {
            node.attrib["aria-label"]
            for node in ET.fromstring(svg(each)).iter()
            if "axis" in node.attrib.get("aria-label", "")
        }
        assert each.title in text, each.name
        assert sorted(label[:6] for label in labels) == ["X-axis", "Y-axis"], each.name
        assert all("titled '" in label for label in labels), (each.name, labels)
