"""The page of a sweep, opened in a browser without a network."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from dami_merge.evaluation.examples import examples
from dami_merge.evaluation.generation import SamplingSettings
from dami_merge.evaluation.grading import Grader
from dami_merge.evaluation.question import Message
from dami_merge.evaluation.rollouts_file import open_rollouts, read_rollouts, read_sidecar, settings_of
from dami_merge.evaluation.summary import summarise
from dami_merge.evaluation.sweep import sweep
from dami_merge.report.page import Figure, svg
from dami_merge.report.sweep import SHOWN_CHARACTERS, sweep_page
from dami_merge.report.sweep_figures import sweep_figures
from tests.evaluation.arithmetic import Calculator, sums
from tests.evaluation.simulated import rollout
from tests.report.conftest import Reader

LAMBDAS = tuple(Fraction(number, 4) for number in range(5))
EVIL = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty sums, three times at five λ; one question is markup."""
    path = tmp_path_factory.mktemp("swept") / "r.jsonl"
    sampling = SamplingSettings(samples=3, max_tokens=28)
    first, *others = sums(40)
    asked = (replace(first, messages=(Message("user", EVIL),)), *others)
    backend = Calculator()
    with (
        Grader() as grader,
        open_rollouts(path, settings_of(backend.describe(), "g", sampling), asked) as file,
    ):
        sweep(asked, LAMBDAS, backend, sampling, grader, file)
    return path


def _page(path: Path) -> str:
    rows = read_rollouts(path)
    return sweep_page(summarise(rows, seed=0), rows, read_sidecar(path), title=f"Sums {EVIL}")


@pytest.fixture(scope="module")
def page_file(swept: Path) -> Path:
    file = swept.with_suffix(".html")
    file.write_text(_page(swept), encoding="utf-8")
    return file


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_drawn_whole_without_a_word_on_the_console_or_a_request(
    reader: Reader, page_file: Path, width: int, dark: bool
) -> None:
    opened = reader.open(page_file, width=width, dark=dark)
    assert opened.console == []
    assert opened.requests == [page_file.as_uri()]
    assert not opened.wider_than_the_screen
    names = opened.page.locator("[data-figure]").evaluate_all("all => all.map(e => e.dataset.figure)")
    assert names == ["frontier", "accuracy", "tokens", "thinking", "group-0", "group-1"]
    assert opened.page.locator("[data-figure] svg").count() == 6


def test_the_texts_of_one_question_stand_side_by_side(reader: Reader, page_file: Path, swept: Path) -> None:
    page = reader.open(page_file).page
    shown = examples(read_rollouts(swept))
    assert page.locator(".answers").count() == len(shown) > 1
    cells = page.locator(".answers").first.locator(".answer")
    assert cells.count() == len(LAMBDAS)
    for number, row in enumerate(shown[0].answers):
        words = cells.nth(number).inner_text()
        assert ("right" if row.correct else "wrong") in words
        assert f"{row.tokens} tokens" in words
    boxes = [cells.nth(number).bounding_box() for number in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[1]["x"] > boxes[0]["x"]
    assert boxes[1]["y"] == boxes[0]["y"]


def test_a_point_of_the_frontier_shows_its_numbers_on_hover(
    reader: Reader, page_file: Path, swept: Path
) -> None:
    opened = reader.open(page_file)
    dots = opened.page.locator("[data-figure=frontier] .mark-symbol.role-mark path")
    assert dots.count() == len(LAMBDAS)
    dots.nth(4).hover()
    words = opened.page.locator("#vg-tooltip-element").inner_text()
    (row,) = (row for row in summarise(read_rollouts(swept), seed=0).overall.rows if row.lam == 1)
    assert f"{row.accuracy:.1%}" in words
    assert f"{row.tokens:,.1f}" in words


def test_questions_and_titles_are_text_and_never_markup(reader: Reader, page_file: Path) -> None:
    page = reader.open(page_file).page
    assert page.title().startswith("Sums <script>")
    assert EVIL in page.locator("h1").inner_text()


def test_every_number_of_the_figures_is_in_a_table(reader: Reader, page_file: Path, swept: Path) -> None:
    words = reader.open(page_file).page.locator("table").first.inner_text()
    for row in summarise(read_rollouts(swept), seed=0).overall.rows:
        for text in (f"{100 * row.accuracy:.1f}%", f"{row.tokens:,.1f}", f"{100 * row.closed:.1f}%"):
            assert text in words


def test_a_sweep_that_has_only_begun_is_drawn_as_far_as_it_is(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun.jsonl"
    begun.write_bytes(b"".join(swept.read_bytes().splitlines(keepends=True)[:150]))
    begun.with_name("begun.jsonl.settings.json").write_bytes(
        swept.with_name("r.jsonl.settings.json").read_bytes()
    )
    file = tmp_path / "begun.html"
    file.write_text(_page(begun), encoding="utf-8")
    opened = reader.open(file)
    assert opened.console == []
    assert (
        "Not finished: 10 of 40 questions have answers at every λ" in opened.page.locator("ul").inner_text()
    )


def test_a_single_answer_is_drawn(reader: Reader, swept: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_bytes(swept.read_bytes().splitlines(keepends=True)[0])
    one.with_name("one.jsonl.settings.json").write_bytes(
        swept.with_name("r.jsonl.settings.json").read_bytes()
    )
    file = tmp_path / "one.html"
    file.write_text(_page(one), encoding="utf-8")
    opened = reader.open(file)
    assert opened.console == []
    assert "Nothing can be compared: λ = 1.00 is the only one" in opened.page.locator("ul").inner_text()


def test_a_long_text_is_shown_in_part_and_whole_on_request(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    rows = [msgspec.structs.replace(row, text="word " * 1000 + "end") for row in read_rollouts(swept)]
    file = tmp_path / "long.html"
    page = sweep_page(summarise(rows, seed=0), rows, read_sidecar(swept), title="long")
    file.write_text(page, encoding="utf-8")
    first = reader.open(file).page.locator(".answer").first
    assert len(first.locator("pre").first.inner_text()) <= SHOWN_CHARACTERS + 1
    first.locator("summary").click()
    assert first.locator("details pre").inner_text().endswith("end")


def test_dominated_points_have_a_mark_of_their_own(swept: Path) -> None:
    rows = [
        rollout(f"q{number}", lam, tokens=tokens, correct=number < right)
        for lam, tokens, right in (("0", 10, 6), ("1/2", 30, 4), ("1", 40, 9))
        for number in range(10)
    ]
    figure = _named(sweep_figures(summarise(rows, seed=0)), "frontier")
    assert "0.00" in svg(figure)
    marks = {value["λ"]: value for value in _dots(figure)}
    assert {lam: mark["is"] for lam, mark in marks.items()} == {
        "0.00": "on the frontier", "0.50": "dominated", "1.00": "on the frontier",
    }  # fmt: skip
    assert marks["0.50"]["beaten by"] == "0.00"


def _named(figures: tuple[Figure, ...], name: str) -> Figure:
    (found,) = (each for each in figures if each.name == name)
    return found


def _dots(figure: Figure) -> list[dict[str, str]]:
    layers = figure.spec["layer"]
    assert isinstance(layers, list)
    (found,) = (each["data"]["values"] for each in layers if "tooltip" in each["encoding"])
    values: list[dict[str, str]] = found
    return values


def test_every_figure_becomes_svg(swept: Path) -> None:
    for each in sweep_figures(summarise(read_rollouts(swept), seed=0)):
        assert svg(each).startswith("<svg"), each.name
