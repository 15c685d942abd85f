"""The page of a sweep, opened in a browser without a network."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from dami_merge.evaluation.generation import all_requests
from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.grading.thinking import Thinking
from dami_merge.evaluation.questions.question import Message
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts_file import open_rollouts, read_rollouts, read_sidecar, settings_of
from dami_merge.evaluation.statistics.summary import summarise
from dami_merge.evaluation.statistics.verdict import HEADLINES, verdict
from dami_merge.evaluation.sweep import fill_rollouts
from dami_merge.report.examples import examples
from dami_merge.report.page import Figure, svg
from dami_merge.report.sweep import SHOWN_CHARACTERS, sweep_page
from dami_merge.report.sweep_figures import sweep_figures
from dami_merge.sampling import SamplingSettings
from tests.evaluation.arithmetic import Calculator, sums
from tests.evaluation.simulated import rollout
from tests.report.conftest import SCREENS, Opened, Reader

LAMBDAS = tuple(Fraction(number, 4) for number in range(5))
EVIL = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty sums, three times at five λ; one question is markup."""
    path = tmp_path_factory.mktemp("swept") / "r.jsonl"
    sampling = SamplingSettings(max_tokens=28)
    first, *others = sums(40)
    asked = (replace(first, messages=(Message("user", EVIL),)), *others)
    backend = Calculator()
    with (
        Grader() as grader,
        open_rollouts(path, settings_of(backend.describe(), "g", sampling), asked) as file,
    ):
        fill_rollouts(all_requests(asked, LAMBDAS, 3), backend, sampling, grader, file)
    return path


def _page(path: Path) -> str:
    rows = read_rollouts(path)
    return sweep_page(summarise(rows, seed=0), rows, read_sidecar(path), title=f"Sums {EVIL}")


@pytest.fixture(scope="module")
def page_file(swept: Path) -> Path:
    file = swept.with_suffix(".html")
    file.write_text(_page(swept), encoding="utf-8")
    return file


@SCREENS
def test_the_page_is_drawn_whole_without_a_word_on_the_console_or_a_request(
    reader: Reader, page_file: Path, width: int, dark: bool
) -> None:
    opened = reader.open(page_file, width=width, dark=dark)
    assert opened.complaints(page_file) == []
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
        assert ("correct" if row.correct else "wrong") in words
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
    words = " ".join(reader.open(page_file).page.locator("table").all_inner_texts())
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
        "The sweep is unfinished: 10 of 40 questions have an answer at every λ"
        in opened.page.locator("ul").inner_text()
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
    assert "Nothing can be compared: λ = 1.00 is the only λ" in opened.page.locator("ul").inner_text()


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


def _opened(reader: Reader, rows: list[Rollout], swept: Path, tmp_path: Path) -> Opened:
    file = tmp_path / "page.html"
    page = sweep_page(summarise(rows, seed=0, resamples=50), rows, read_sidecar(swept), title="T")
    file.write_text(page, encoding="utf-8")
    opened = reader.open(file)
    assert opened.console == []
    return opened


def test_an_example_whose_question_is_not_on_file_gives_way_to_the_next(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    rows = [rollout(name, lam, correct=lam == "1") for name in ("lost", "q003") for lam in ("0", "1/3", "1")]
    page = _opened(reader, rows, swept, tmp_path).page
    assert page.locator("h3", has_text="wrong at first, correct from some λ on").count() == 1
    assert page.locator("p", has_text="Question q003").count() == 1
    assert page.locator(".answer h4").all_inner_texts() == ["λ 0.00 wrong", "λ 1of3 wrong", "λ 1.00 correct"]


def test_pass_at_the_most_is_empty_where_no_question_has_so_many_samples(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    rows = [
        rollout("q000", lam, k, correct=k == 0) for lam, count in (("0", 1), ("1", 2)) for k in range(count)
    ]
    table = _opened(reader, rows, swept, tmp_path).page.locator("table").first
    headings = table.locator("th").all_inner_texts()
    column = headings.index("Pass@2")
    cells = [row.locator("td").nth(column).inner_text() for row in table.locator("tr").all()[1:]]
    assert cells == ["", "100.0%"]


def test_groups_stand_by_their_names_whatever_these_are(reader: Reader, swept: Path, tmp_path: Path) -> None:
    names = ["", "a/b", EVIL]
    rows = [
        rollout(f"{place}{number}", lam, group=name)
        for place, name in enumerate(names)
        for number in range(1 + (name == EVIL))
        for lam in ("0", "1/3", "1")[: 3 - place]
    ]
    page = _opened(reader, rows, swept, tmp_path).page
    assert page.title() == "T"
    assert page.locator(".groups figure h3").all_inner_texts() == [
        "no group (1 question)",
        f"{EVIL} (2 questions)",
        "a/b (1 question)",
    ]
    assert page.locator(".groups svg").count() == 3


def test_answers_of_two_settings_are_said_not_to_compare(reader: Reader, swept: Path, tmp_path: Path) -> None:
    rows = [rollout("q000", "0", settings="a"), rollout("q000", "1", settings="b")]
    page = _opened(reader, rows, swept, tmp_path).page
    assert (
        "come from 2 different settings, so the λ cannot be compared"
        in page.locator(".verdict.bad").inner_text()
    )
    assert page.locator("#verdict").count() == 0
    rows = [rollout("q000", "0"), rollout("q000", "1")]
    assert _opened(reader, rows, swept, tmp_path).page.locator(".verdict.bad").count() == 0


def test_what_was_not_measured_against_thinking_has_no_such_table(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    headings = "Each λ against Thinking", "The best single λ for each token budget"
    for lams, expected in ((("0", "1/2"), headings[1:]), (("0", "1"), headings)):
        rows = [rollout("q000", lam, tokens=0) for lam in lams]
        page = _opened(reader, rows, swept, tmp_path).page
        shown = page.locator("h3").all_inner_texts()
        assert tuple(each for each in headings if each in shown) == expected


def test_the_tables_and_settings_say_what_the_summary_says(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    cells: tuple[tuple[str, int, int, Thinking], ...] = (
        ("0", 2, 5, "none"), ("1/3", 8, 40, "closed"), ("1", 7, 80, "unclosed")
    )  # fmt: skip
    rows = [
        rollout(f"q{number:03}", lam, correct=number < right, tokens=tokens, thinking=state)
        for lam, right, tokens, state in cells
        for number in range(10)
    ]
    page = _opened(reader, rows, swept, tmp_path).page
    tables = [
        [" ".join(row.inner_text().split()) for row in table.locator("tr").all()[1:]]
        for table in page.locator("table").all()
    ]
    assert tables[0][1].startswith("1of3 80.0% 49.0% to 94.3% 40.0 40.0 100.0% 0.0% 0.0% 0.0% 80.0% 10 10")
    assert tables[0][2].split()[6:9] == ["80.0", "0.0%", "100.0%"]
    thinking = summarise(rows, seed=0, resamples=50).overall.comparison
    assert thinking is not None
    first = thinking.against_thinking[0]
    assert first.accuracy_interval is not None
    interval = f"{100 * first.accuracy_interval.low:+.1f} to {100 * first.accuracy_interval.high:+.1f}"
    share = thinking.pareto.standings[0].frontier_share
    assert tables[1][0] == f"0.00 5.0 to 5.0 {share:.1%} yes yes"
    gain = thinking.conclusion.gains[0] if thinking.conclusion is not None else None
    assert gain is not None
    assert gain.interval is not None
    ends = f"{100 * gain.interval.low:+.1f} to {100 * gain.interval.high:+.1f}"
    assert tables[1][1].endswith(f" yes yes {100 * gain.gain:+.1f} {ends}")
    assert tables[1][2].split()[-3:] == ["1of3", "no", "no"]
    assert tables[2][0] == f"0.00 -50.0 {interval} -75.0 -75.0 to -75.0 0.06"
    assert tables[3] == ["5.0 0.00 20.0%", "40.0 1of3 80.0%"]
    sidecar = read_sidecar(swept)
    assert "backend.kind calculator" in tables[4]
    assert f"max_tokens {sidecar.settings.max_tokens}" in tables[4]
    assert f"settings digest {sidecar.settings.digest()}" in tables[4]


def test_the_bars_of_the_thinking_block_add_up_to_one() -> None:
    states: list[Thinking] = ["closed", "closed", "closed", "wrong-tag", "wrong-tag", "unclosed"]
    states += ["none"] * 4
    rows = [rollout(f"q{number}", "1/3", thinking=state) for number, state in enumerate(states)]
    values = _named(sweep_figures(summarise(rows, seed=0, resamples=10)), "thinking").spec["data"]
    assert isinstance(values, dict)
    assert [(value["λ"], value["state"], round(value["share"] * 10)) for value in values["values"]] == [
        ("1of3", "closed", 3),
        ("1of3", "closed by another tag", 2),
        ("1of3", "left open", 1),
        ("1of3", "no thinking block", 4),
    ]


def test_an_answer_is_shown_with_its_grade_its_block_and_whether_it_was_cut(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    rows = [
        rollout("q000", "0", correct=False, thinking="none", tokens=5),
        rollout("q000", "1/2", correct=False, thinking="unclosed", finish="length", tokens=1234),
        rollout("q000", "1", thinking="closed", tokens=60),
    ]
    answers = _opened(reader, rows, swept, tmp_path).page.locator(".answer")
    words = [" ".join(each.split()) for each in answers.locator("p").all_inner_texts()]
    assert words == [
        "5 tokens",
        "1,234 tokens, truncated, thinking block left open",
        "60 tokens, thinking block closed",
    ]
    marks = answers.locator("h4 span").evaluate_all("all => all.map(e => [e.className, e.innerText])")
    assert marks == [["bad", "wrong"], ["bad", "wrong"], ["good", "correct"]]


def test_the_page_begins_with_its_conclusion_and_the_frontier_and_texts_come_after(
    reader: Reader, page_file: Path, swept: Path
) -> None:
    page = reader.open(page_file, width=1280).page
    found = summarise(read_rollouts(swept), seed=0).overall.comparison
    assert found is not None
    assert found.conclusion is not None
    box = page.locator("#verdict")
    assert box.locator("strong").inner_text() == HEADLINES[found.conclusion.kind]
    assert tuple(box.locator("p").all_inner_texts()) == verdict(found)
    order = [
        "#verdict",
        "#figure-frontier",
        "#figure-accuracy",
        "#figure-thinking",
        ".answers",
        "#figure-group-0",
    ]
    tops = [page.locator(each).first.bounding_box() for each in order]
    heights = [top["y"] for top in tops if top is not None]
    assert len(heights) == len(order)
    assert heights == sorted(heights)


def test_nothing_is_cut_on_a_screen_of_1280_pixels_even_with_eleven_lambdas(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    rows = [
        rollout(name, str(Fraction(n, 10)), correct=n > 3, tokens=12_345 + n)
        for name in [f"q{number:03}" for number in range(12)]
        for n in range(11)
    ]
    rows = [msgspec.structs.replace(row, text="word " * 100) for row in rows]
    file = tmp_path / "wide.html"
    page = sweep_page(summarise(rows, seed=0, resamples=50), rows, read_sidecar(swept), title="T")
    file.write_text(page, encoding="utf-8")
    opened = reader.open(file, width=1280).page
    cut = """all => all.filter(e => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)
                       .map(e => e.className + e.scrollWidth + '>' + e.clientWidth)"""
    for each in (".scroll", ".answers", ".answer pre", ".chart"):
        assert opened.locator(each).count() > 0
        assert opened.locator(each).evaluate_all(cut) == [], each


OVERLAPS = """figures => figures.flatMap(figure => {
  const boxes = [...figure.querySelectorAll('text')].filter(e => e.textContent.trim()).map(e => {
    const box = e.getBoundingClientRect();
    return {text: e.textContent, left: box.left, right: box.right, top: box.top + 2, bottom: box.bottom - 2};
  });
  const found = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const [a, b] = [boxes[i], boxes[j]];
    if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
      found.push(a.text + ' on ' + b.text);
  }
  return found;
})"""


def _close() -> list[Rollout]:
    """As a switch has them: two heaps of points, and .90 beside 1.00."""
    cells = (
        ("0", 3, 60), ("1/4", 3, 61), ("1/2", 2, 58), ("7/10", 2, 60), ("4/5", 15, 170), ("9/10", 18, 176),
        ("1", 19, 179),
    )  # fmt: skip
    return [
        rollout(f"q{n:03}", lam, correct=n < right, tokens=tokens, thinking="closed" if right > 9 else "none")
        for lam, right, tokens in cells
        for n in range(40)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_labels_of_points_that_are_close_do_not_overlap(
    reader: Reader, swept: Path, tmp_path: Path, width: int
) -> None:
    rows = _close()
    file = tmp_path / "close.html"
    page = sweep_page(summarise(rows, seed=0, resamples=50), rows, read_sidecar(swept), title="T")
    file.write_text(page, encoding="utf-8")
    opened = reader.open(file, width=width)
    assert opened.complaints(file) == []
    figures = opened.page.locator("[data-figure]")
    assert figures.evaluate_all(OVERLAPS) == []
    names = opened.page.locator("[data-figure=frontier] .mark-text.role-mark text").all_text_contents()
    assert "1.00" in names
    assert len(names) > 2
    legend = opened.page.locator("[data-figure=thinking] .role-legend-label text")
    assert legend.all_text_contents() == ["closed", "closed by another tag", "left open", "no thinking block"]
    assert all((box := each.bounding_box()) and box["x"] + box["width"] <= width for each in legend.all())


@pytest.mark.slow
def test_labels_of_an_exported_figure_do_not_overlap(reader: Reader, tmp_path: Path) -> None:
    for each in sweep_figures(summarise(_close(), seed=0, resamples=50)):
        file = tmp_path / f"{each.name}.html"
        file.write_text(f"<html data-drawn=yes><div>{svg(each)}</div>", encoding="utf-8")
        assert reader.open(file).page.locator("div").evaluate_all(OVERLAPS) == [], each.name


def test_without_scripts_the_numbers_of_the_figures_are_in_the_tables_as_the_page_says(
    reader: Reader, page_file: Path, swept: Path
) -> None:
    page = reader.without_scripts(page_file)
    said = page.locator("noscript").inner_text()
    assert said == "The figures need JavaScript. Their numbers are in the tables of this page."
    words = " ".join(page.locator("table").all_inner_texts())
    report = summarise(read_rollouts(swept), seed=0)
    comparison = report.overall.comparison
    assert comparison is not None
    texts = []
    for row in report.overall.rows:
        texts += [
            f"{share:.1%}" for share in (row.accuracy, row.accuracy_interval.low, row.accuracy_interval.high)
        ]
        texts += [f"{share:.1%}" for share in (row.closed, row.unclosed, row.wrong_tag, row.cut)]
        texts += [f"{row.tokens:,.1f}", f"{row.median_tokens:,.1f}"]
        assert row.tokens_interval is not None
        texts.append(f"{row.tokens_interval.low:,.1f} to {row.tokens_interval.high:,.1f}")
    texts += [f"{each.frontier_share:.1%}" for each in comparison.pareto.standings]
    texts += [f"{row.accuracy:.1%}" for section in report.groups for row in section.rows]
    assert [text for text in texts if text not in words] == []


def test_one_question_has_a_page_that_says_so_and_no_interval_of_a_difference(
    reader: Reader, swept: Path, tmp_path: Path
) -> None:
    rows = [rollout("q000", lam, correct=lam == "1", tokens=len(lam)) for lam in ("0", "1/2", "1")]
    page = _opened(reader, rows, swept, tmp_path).page
    assert page.locator("#verdict strong").inner_text() == "Too few questions to tell"
    assert "one question says nothing about others" in page.locator("#verdict").inner_text()
    assert "There are no intervals: 10 questions are the fewest" in page.locator("main, body").inner_text()
    against = page.locator("table").nth(2).locator("tr").nth(1).locator("td").all_inner_texts()
    assert against == ["0.00", "-100.0", "", "+0.0", "", "1.00"]
