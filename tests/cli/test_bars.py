"""Bars of layers and of kinds of modules, of reports that are made for the purpose."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dami_merge.cli.bars import HEIGHTS, heat_map, layer_bars
from dami_merge.connectivity.report import CellReport, GroupReport, TensorReport, WeightsReport
from dami_merge.tensors.similarity import Similarity
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.pairs import weights_of


def alike(cosine: float) -> Similarity:
    return Similarity(10, cosine, 0.1, 1.0, 0.0, 1.0, 0.1)


@pytest.fixture
def report(tmp_path: Path) -> WeightsReport:
    """Of a real pair, to be changed."""
    tensors = random_tensors(seed=0)
    sides = (write_checkpoint(tmp_path / "a", tensors), write_checkpoint(tmp_path / "b", near(tensors)))
    return weights_of(*map(str, sides))


def layered(report: WeightsReport, cosines: Mapping[str, float]) -> WeightsReport:
    return replace(report, layers=tuple(GroupReport(name, alike(c), None) for name, c in cosines.items()))


def stack(name: str, cosines: list[float]) -> dict[str, float]:
    return {f"{name}.{number}": cosine for number, cosine in enumerate(cosines)}


def test_the_farthest_layer_has_the_tallest_bar_even_where_all_are_close(report: WeightsReport) -> None:
    close = layered(report, stack("model.layers", [0.9999, 0.99987, 0.9998]) | {"lm_head": 0.5})
    lines = [line.plain for line in layer_bars(close, 80)]
    assert lines == [
        "layers of model.layers",
        "     0  ▁▄█",
        "        closest 0: 0.999900, farthest 2: 0.999800",
        "        each bar is a layer; the taller, the farther apart",
        "        ▁ 0.999900, █ 0.999800 (none below 0.99)",
    ]


def test_layers_that_are_about_equal_are_not_told_apart(report: WeightsReport) -> None:
    even = [line.plain for line in layer_bars(layered(report, stack("layers", [0.9990, 0.99901])), 80)]
    assert even[1] == "     0  ▁▁"
    assert even[-1].endswith("all are about as close: 0.999010 (none below 0.99)")
    same = [line.plain for line in layer_bars(layered(report, stack("layers", [1.0, 1.0])), 80)]
    assert same[1] == "     0  ▁▁"


def test_colours_are_those_of_the_verdict(report: WeightsReport) -> None:
    lines = list(layer_bars(layered(report, stack("layers", [0.99, 0.9899, 0.95, 0.9499])), 80))
    assert [span.style for span in lines[1].spans] == ["green", "yellow", "yellow", "red"]
    assert lines[-1].plain.endswith("(some below 0.99)")


def test_every_tower_has_bars_of_its_own_on_one_scale(report: WeightsReport) -> None:
    both = stack("model.visual.blocks", [0.5, 0.5]) | stack("model.language_model.layers", [0.999] * 3)
    lines = [line.plain for line in layer_bars(layered(report, both), 80)]
    assert lines[:2] == ["layers of model.visual.blocks", "     0  ██"]
    assert lines[3:5] == ["layers of model.language_model.layers", "     0  ▁▁▁"]


def test_a_deep_stack_goes_on_in_rows_that_say_where_they_begin(report: WeightsReport) -> None:
    deep = layered(report, stack("model.layers", [0.999 - number / 1e5 for number in range(94)]))
    lines = [line.plain for line in layer_bars(deep, 80)]
    assert [line[:8] for line in lines[1:3]] == ["     0  ", "    70  "]
    assert [len(line) - 8 for line in lines[1:3]] == [70, 24]


def test_a_model_without_numbered_layers_has_no_bars(report: WeightsReport) -> None:
    assert list(layer_bars(layered(report, {"lm_head": 0.9}), 80)) == []


def experts_of(layers: int, experts: int, cosine: float) -> list[TensorReport]:
    return [
        TensorReport(f"model.layers.{n}.mlp.experts.{e}.up_proj.weight", f"model.layers.{n}",
                     "mlp.experts.*.up_proj", True, alike(cosine))
        for n in range(layers) for e in range(experts)
    ]  # fmt: skip


def mixture(report: WeightsReport, experts: list[TensorReport]) -> WeightsReport:
    """Layers of experts and a router; one layer has another kind of module."""
    routers = [
        TensorReport(f"model.layers.{n}.mlp.gate", f"model.layers.{n}", "mlp.gate", True, alike(0.9995))
        for n in range(48) if n != 5
    ]  # fmt: skip
    tensors = [*experts, *routers]
    cells = dict.fromkeys((each.layer, each.module) for each in tensors)
    return replace(
        report,
        tensors=tuple(tensors),
        experts=(),
        cells=tuple(CellReport(*cell, alike(0.999)) for cell in cells),
    )


def test_a_heat_map_of_48_layers_of_128_experts_fits_80_columns_and_shows_a_broken_expert(
    report: WeightsReport,
) -> None:
    experts = experts_of(48, 128, 0.9999)
    broken = 17 * 128 + 5
    experts[broken] = replace(experts[broken], similarity=alike(-1))
    lines = [line.plain for line in heat_map(mixture(report, experts), 80)]
    assert max(map(len, lines)) <= 80
    assert lines[0] == "layers of model.layers"
    blocks = [line for line in lines if line.startswith("mlp.experts.*.up_proj  ")]
    bars = "".join(line[23:] for line in blocks)
    assert bars == HEIGHTS[0] * 17 + HEIGHTS[-1] + HEIGHTS[0] * 30
    assert "lowest -1.000000 in model.layers.17.mlp.experts.5.up_proj.weight" in lines
    routers = "".join(line[23:] for line in lines if line.startswith("mlp.gate "))
    assert len(routers) == 48
    assert routers[5] == " ", "a layer without that kind"
    assert [line.split() for line in lines if line.strip()[:1].isdigit()] == [["0", "10", "20", "30", "40"]]
    assert lines[-1] == "▁ 0.999900, █ -1.000000 (some below 0.9)"


def test_a_heat_map_deeper_than_the_screen_goes_on_in_blocks_and_a_wide_one_has_a_column_of_the_lowest(
    report: WeightsReport,
) -> None:
    made = mixture(report, experts_of(48, 1, 0.9999))
    narrow = [line.plain for line in heat_map(made, 60)]
    assert [line.split() for line in narrow if line.strip()[:1].isdigit()] == [
        ["0", "10", "20"],
        ["30", "40"],
    ]
    assert not any("lowest" in line for line in narrow if line.startswith("mlp"))
    wide = [line.plain for line in heat_map(made, 160)]
    (row,) = (line for line in wide if line.startswith("mlp.gate "))
    assert row.endswith("  lowest 0.999500 in 0")


def test_a_heat_map_without_numbered_layers_shows_its_tensors(report: WeightsReport) -> None:
    only = TensorReport("lm_head.weight", "lm_head", "lm_head", True, alike(0.97))
    lines = heat_map(
        replace(report, tensors=(only,), experts=(), cells=(CellReport("lm_head", "lm_head", alike(0.97)),)),
        80,
    )
    assert any(line.plain.startswith("lm_head  ▁  lowest 0.970000 in lm_head") for line in lines)
