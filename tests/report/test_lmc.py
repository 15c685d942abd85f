"""The page of check-lmc, opened in a browser without a network."""

import itertools
import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_questions
from dami_merge.checkpoint.differences import ConfigDifference
from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity.bounds import SampleReport
from dami_merge.connectivity.check import Check
from dami_merge.connectivity.difference import examine_difference
from dami_merge.connectivity.path import PathPoint, PathReport, PathStep
from dami_merge.connectivity.rounding import RoundingReport, Survival, examine_rounding
from dami_merge.connectivity.texts import read_texts
from dami_merge.errors import Problem
from dami_merge.lambdas import even_grid
from dami_merge.report import lmc_figures, weights_figures
from dami_merge.report.lmc import lmc_page
from dami_merge.report.page import png, svg
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint
from tests.pairs import walked, weights_of
from tests.report.conftest import SCREENS, Reader


@pytest.fixture(scope="module")
def found() -> Check:
    """All that can be asked of the bundled pair."""
    pair = open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING)
    texts = read_texts(bundled_questions(), limit=20)
    path = walked(*pair, texts, even_grid(4))
    return Check(weights_of(*pair), path, examine_difference(*pair), examine_rounding(*pair))


@pytest.fixture(scope="module")
def page_file(found: Check, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "lmc.html"
    file.write_text(lmc_page(found), encoding="utf-8")
    return file


@SCREENS
def test_a_page_is_drawn_whole_without_a_word_on_the_console_or_a_request(
    reader: Reader, page_file: Path, width: int, dark: bool
) -> None:
    opened = reader.open(page_file, width=width, dark=dark)
    assert opened.complaints(page_file) == []
    widths = opened.page.locator("[data-figure] svg").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().width)"
    )
    assert len(widths) == 8
    assert min(widths) > width / 3


OVERLAPPING = """figure => {
  const shown = [...figure.querySelectorAll("svg text")]
    .filter(e => e.textContent && +getComputedStyle(e).opacity);
  const boxes = shown.map(e => [e.textContent, e.getBoundingClientRect()]);
  const whole = figure.querySelector("svg").getBoundingClientRect();
  const right = Math.min(whole.right, innerWidth);
  const found = boxes.filter(([, b]) => b.left < whole.left - 1 || b.right > right + 1)
    .map(([text]) => "cut: " + text);
  for (const [n, [one, a]] of boxes.entries())
    for (const [other, b] of boxes.slice(n + 1))
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
        found.push(one + " covers " + other);
  return found;
}"""
"""What a reader could not read: texts of a figure that are cut, or that cover each other."""


def mixture_page(tmp_path: Path) -> Path:
    """A mixture of 48 layers of 128 experts, one of them broken."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "mlp.experts.gate_up_proj": (128, 4, 6),
        "mlp.experts.down_proj": (128, 3, 4),
        "mlp.gate.weight": (128, 4),
    }
    tensors = {
        f"model.language_model.layers.{n}.{kind}": torch.randn(*shape, generator=generator)
        for n in range(48)
        for kind, shape in shapes.items()
    }
    other = near(tensors, noise=0.03)
    other["model.language_model.layers.17.mlp.experts.down_proj"][5].neg_()
    sides = open_both(
        str(write_checkpoint(tmp_path / "a", tensors)), str(write_checkpoint(tmp_path / "b", other))
    )
    file = tmp_path / "mixture.html"
    check = Check(weights_of(*sides), None, examine_difference(*sides), examine_rounding(*sides))
    file.write_text(lmc_page(check), encoding="utf-8")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_no_text_of_a_figure_is_cut_or_covers_another(
    reader: Reader, page_file: Path, tmp_path: Path, width: int
) -> None:
    for file in (page_file, mixture_page(tmp_path)):
        opened = reader.open(file, width=width)
        assert opened.complaints(file) == []
        for place in opened.page.locator("[data-figure]").all():
            assert (place.get_attribute("data-figure"), place.evaluate(OVERLAPPING)) == (
                place.get_attribute("data-figure"),
                [],
            )


def test_every_figure_names_both_axes(found: Check) -> None:
    for each in lmc_figures.lmc_figures(found):
        spec: Any = each.spec
        for layer in spec.get("layer", [spec]):
            for axis in set(layer["encoding"]) & {"x", "y"}:
                assert layer["encoding"][axis].get("title"), (each.name, axis)


def test_text_stands_out_from_the_ground_in_the_light_and_in_the_dark(
    reader: Reader, page_file: Path
) -> None:
    grounds = []
    for dark in (False, True):
        page = reader.open(page_file, dark=dark).page
        ground = _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        grounds.append(ground)
        colours = page.evaluate(
            "[...document.querySelectorAll('p, h1, h2, h3, td, figcaption, .vega-embed svg text')].map(e =>"
            " e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color)"
        )
        assert len(colours) > 60
        for colour in set(colours):
            text = _luminance(colour)
            contrast = (max(text, ground) + 0.05) / (min(text, ground) + 0.05)
            assert contrast >= 4.5, (dark, colour)  # WCAG 2.2, level AA
    assert grounds[0] > 0.9 > 0.1 > grounds[1]


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it, of `rgb(r, g, b)`."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.slow
def test_a_cell_of_the_heat_map_shows_its_values_on_hover(
    reader: Reader, page_file: Path, found: Check
) -> None:
    opened = reader.open(page_file)
    cells = opened.page.locator("[data-figure=heat] .mark-rect.role-mark path")
    inside = [cell for cell in found.weights.cells if cell.layer.startswith("model.layers.")]
    assert cells.count() == len(inside)
    cells.nth(1).hover()
    shown = opened.page.locator("#vg-tooltip-element").inner_text()
    cell = inside[1]
    assert cell.layer in shown
    assert cell.module in shown
    assert f"{cell.similarity.cosine:.6f}" in shown


def test_the_page_says_the_verdict_the_answers_and_the_next_step(reader: Reader, page_file: Path) -> None:
    page = reader.open(page_file).page
    assert page.locator(".verdict strong").inner_text() == "connected"
    cards = page.locator(".card h3").all_inner_texts()
    assert [" ".join(card.split()) for card in cards] == [
        "close weights? yes",
        "one basin? yes",
        "smooth path? yes",
        "one way? yes",
        "dial, not a switch? yes",
    ]
    assert "build a grid" in page.locator("ul").first.inner_text()
    assert page.locator("li code").first.inner_text() == "sweep"


def test_the_figure_of_beginnings_shows_every_lambda_and_where_prompts_turn(
    reader: Reader, page_file: Path, found: Check
) -> None:
    assert found.path is not None
    dial = found.path.dial
    assert dial is not None
    opened = reader.open(page_file)
    points = opened.page.locator("[data-figure=dial] .mark-symbol path")
    assert points.count() == len(dial.lambdas)
    points.nth(1).hover()
    assert f"{dial.share[1]:.1%}" in opened.page.locator("#vg-tooltip-element").inner_text()
    assert opened.page.locator("[data-figure=dial] .mark-rect path").count() == len(dial.flips)
    said = opened.page.locator("[data-figure=dial]").locator("xpath=..").inner_text()
    assert f"averaged over the {len(dial.starts)} prompts" in said


def test_without_a_path_it_says_what_was_not_asked(reader: Reader, found: Check, tmp_path: Path) -> None:
    file = tmp_path / "short.html"
    file.write_text(lmc_page(Check(found.weights)), encoding="utf-8")
    opened = reader.open(file)
    assert opened.console == []
    assert opened.page.locator(".card h3", has_text="not asked").count() == 4
    assert opened.page.locator("[data-figure]").count() == 3
    assert "--texts FILE" in opened.page.locator("ul").first.inner_text()


def test_names_templates_and_configs_are_text_and_never_markup(reader: Reader, tmp_path: Path) -> None:
    evil = "<script>document.title='taken'</script>"
    tensors = {f"{name}{evil}": tensor for name, tensor in random_tensors(seed=0).items()}
    write_checkpoint(tmp_path / "a", tensors, extra={"chat_template.jinja": f"same\n{evil}\n"})
    write_checkpoint(
        tmp_path / "b",
        near(tensors),
        config={**CONFIG, "rope_theta": evil},
        extra={"chat_template.jinja": "same\n{{ other }}\n"},
    )
    file = tmp_path / "evil.html"
    report = weights_of(str(tmp_path / "a"), str(tmp_path / "b"))
    file.write_text(lmc_page(Check(replace(report, instruct=evil))), encoding="utf-8")
    opened = reader.open(file)
    assert opened.console == []
    assert opened.page.title() != "taken"
    assert evil in opened.page.locator("h1").inner_text()
    assert opened.page.locator("pre .del").last.inner_text() == f"-{evil}"
    assert opened.page.locator("pre .add").last.inner_text() == "+{{ other }}"
    assert "attention weighs positions differently" in opened.page.locator("table").last.inner_text()


def test_a_model_of_zeros_and_a_model_of_many_tensors_are_drawn(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = random_tensors(seed=0)
    zeros = {name: tensor.zero_() for name, tensor in random_tensors(seed=0).items()}
    write_checkpoint(tmp_path / "a", zeros)
    write_checkpoint(tmp_path / "b", left)
    report = weights_of(str(tmp_path / "a"), str(tmp_path / "b"))
    assert math.isinf(report.tensors[0].similarity.relative_distance)
    monkeypatch.setattr(weights_figures, "LARGEST_DISTRIBUTION", 3)
    file = tmp_path / "zeros.html"
    file.write_text(lmc_page(Check(report)), encoding="utf-8")
    opened = reader.open(file)
    assert opened.console == []
    assert opened.page.locator(".verdict.bad").count() == 1
    assert (
        f"Shown are the 3 of {len(left)} tensors and experts that are farthest apart."
        in opened.page.content()
    )
    assert opened.page.locator("[data-figure=distribution] .mark-symbol.marks path").count() == 3


def test_every_figure_becomes_svg_and_png_without_a_browser(found: Check) -> None:
    figures = lmc_figures.lmc_figures(found)
    assert [each.name for each in figures] == [
        "heat",
        "distribution",
        "change",
        "rounding",
        "loss",
        "steps",
        "dial",
        "spectrum",
    ]
    for each in figures:
        assert svg(each).startswith("<svg")
        assert png(each)[:8] == b"\x89PNG\r\n\x1a\n"
    assert "layer of model.layers" in svg(figures[0])


def test_a_pair_that_does_not_differ_is_said_to_and_drawn(reader: Reader, tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    sides = open_both(
        str(write_checkpoint(tmp_path / "a", tensors)), str(write_checkpoint(tmp_path / "b", tensors))
    )
    file = tmp_path / "same.html"
    check = Check(weights_of(*sides), None, examine_difference(*sides), examine_rounding(*sides))
    file.write_text(lmc_page(check), encoding="utf-8")
    opened = reader.open(file)
    assert opened.console == []
    words = opened.page.locator("body").inner_text()
    assert opened.page.locator("[data-figure=rounding]").count() == 0, "there is nothing to round"
    assert "Config, sampling defaults, tokenizer and chat template are the same in both models." in words
    assert f"{len(tensors)} of {len(tensors)} tensors are identical in both models." in words


@pytest.mark.parametrize(
    ("above", "steps", "tone"),
    [
        (0.0, (0.01, 0.01, 0.01, 0.01), "good"),
        (9.0, (0.01,) * 4, "bad"),
        (0.0, (0.01, 0.01, 0.5, 0.01), "bad"),
    ],
)
def test_the_verdict_is_green_only_where_the_walk_found_neither_wall_nor_switch(
    reader: Reader, found: Check, tmp_path: Path, above: float, steps: tuple[float, ...], tone: str
) -> None:
    lambdas = even_grid(4)
    path = PathReport(
        3,
        30,
        tuple(PathPoint(lam, 2.0 + (lam == Fraction(1, 2))) for lam in lambdas),
        tuple(
            PathStep(start, stop, (1.0, 1 - size), (1.0, 1.0))
            for (start, stop), size in zip(itertools.pairwise(lambdas), steps, strict=True)
        ),
        above + 0.5,
        above,
        Fraction(1, 2),
    )
    file = tmp_path / "tone.html"
    file.write_text(lmc_page(Check(found.weights, path)), encoding="utf-8")
    opened = reader.open(file)
    assert opened.console == []
    assert opened.page.locator(f".verdict.{tone}").count() == 1
    assert f"rises at most {above:.3f} nats above the line, and {above + 0.5:.3f} above" in " ".join(
        opened.page.locator("#figure-loss figcaption").inner_text().split()
    )
    assert opened.page.locator("[data-figure=steps] .mark-rect.role-mark path").count() == 8


def test_a_page_of_a_sample_says_how_much_was_read_and_what_that_proves(found: Check) -> None:
    sample = SampleReport(0.05, 3, 0.95, 50, 1000, 0.97, 0.995, 0.96, 0.99, ())
    page = lmc_page(Check(replace(found.weights, verdict="undecided", sample=sample)))
    assert "Only 5.0% of the weights was read (seed 3), so all numbers" in page
    assert "at 95% confidence, the worst cosine is between 0.970000" in page
    assert '<section class="verdict warn">' in page
    assert '<span class="warn">unclear</span>' in page
    whole = lmc_page(Check(replace(found.weights, sample=replace(sample, read_bytes=1000))))
    assert "was read (seed" not in whole


def test_a_pinned_model_is_named_with_its_commit_and_the_refusals_with_their_way_out(found: Check) -> None:
    refusals = (Problem("config", "rope_theta differs", "vouch for it"), Problem("config", "other"))
    weights = replace(
        found.weights, instruct="org/a", instruct_revision="abc", refusals=refusals, skipped=("ids", "map")
    )
    page = lmc_page(Check(weights))
    assert "<code>org/a@abc</code>" in page
    assert f"<code>{found.weights.thinking}</code>" in page
    assert 'rope_theta differs <span class="faint">(vouch for it)</span>' in page
    assert "<li>other</li>" in page
    assert "2 integer tensors were not compared." in page


def test_differences_stand_side_by_side_and_only_those_that_matter_are_red(found: Check) -> None:
    fields = (
        ConfigDifference("rope_theta", "1.0", "2.0", neutral=False, consequence="matters"),
        ConfigDifference("dtype", "a", "b", neutral=True, consequence="does not"),
    )
    report = replace(found.weights, differences=replace(found.weights.differences, config=fields))
    rounding = RoundingReport("bfloat16", 100, 0.41, (Survival(Fraction(1, 10), 0.25, 0.75),))
    page = " ".join(lmc_page(Check(report, rounding=rounding)).split())
    for field, cells, red in ((fields[0], ("1.0", "2.0"), ' class="bad"'), (fields[1], ("a", "b"), "")):
        left, right = (f'<td class="name">{cell}</td>' for cell in cells)
        row = f'<td class="name">{field.field}</td>{left} {right} <td{red}>{field.consequence}</td>'
        assert row in page
    assert (
        "Rounding to bfloat16 drowns the difference at every λ between the ends: at λ = 0.10 it keeps" in page
    )
    assert "The weights are close, but rounding to bfloat16 leaves little between them." in page
    assert '<section class="verdict bad">' in page
    assert 'id="figure-rounding"' in page
