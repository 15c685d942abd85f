"""The page of an evaluation, opened in a browser without a network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dami_merge.errors import InputRefused
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.goal import Setting
from dami_merge.estimators.judge.contest import Contender, Decided, Trial, contest, static_points
from dami_merge.estimators.judge.dialled import static_metrics
from dami_merge.estimators.judge.evaluated import Entrant, EvaluationReport, LearningPoint, ShownQuery
from dami_merge.estimators.judge.judgement import bench
from dami_merge.report.evaluation import evaluation_page, read_learning
from dami_merge.report.evaluation_figures import evaluation_figures
from tests.estimators.judge.test_controls import truth
from tests.estimators.judge.test_statistics import true_places
from tests.estimators.world import world
from tests.report.conftest import Reader

EVIL = "<script>document.title='taken'</script>"


def knows(examples: Examples) -> Decided:
    return Decided(truth(examples), np.zeros(len(examples)), true_places(examples), fallback=4)


def scores(examples: Examples) -> Decided:
    said = knows(examples)
    return replace(said, estimate=replace(said.estimate, kind="scores"))


def evaluation_of(trial: Trial, contenders: Sequence[Contender]) -> EvaluationReport:
    """What an evaluation of contenders would hold, with two shown queries full of markup."""
    test = trial.test
    setting = Setting(
        mu=0.1, guard=0.0, accuracy=None, tokens=None, drop=None, drop_error=None, met="the price of tea"
    )
    shown = ShownQuery(
        prompt=EVIL, group="easy", accuracy=(0.5,) * 5, tokens=(9.0,) * 5, predicted=(0.4,) * 5,
        cost=(8.0,) * 5, chosen=test.lambdas[1],
    )  # fmt: skip
    return EvaluationReport(
        queries=60, answers=1200, lambdas=test.lambdas, static=static_points(trial),
        static_metrics=static_metrics(bench(test, seed=0)), co_failures=0.05, seeds=1,
        entrants=tuple(
            Entrant(name=each.name, kind="curve", features="text", source="", queries=9, settings=(setting,),
                    milliseconds=None if each.control else 0.25)
            for each in contenders
        ),
        rows=contest(trial, contenders), shown=(shown, shown), shown_by="curve",
    )  # fmt: skip


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    contenders = [Contender("curve", (knows,)), Contender(EVIL, (scores,), control=True)]
    return evaluation_of(Trial(world(60, 4, 0)), contenders)


def learning(report: EvaluationReport) -> tuple[LearningPoint, ...]:
    gain = report.rows[0].judgement.over_hull
    bare = msgspec.structs.replace(gain, interval=None)
    return (
        LearningPoint(name="curve", queries=50, over_hull=bare),
        LearningPoint(name="curve", queries=500, over_hull=gain),
    )


@pytest.mark.parametrize(("width", "dark"), [(360, True), (1200, False)])
def test_the_page_is_drawn_whole_without_a_word_on_the_console_or_a_request(
    reader: Reader, report: EvaluationReport, tmp_path: Path, width: int, dark: bool
) -> None:
    file = tmp_path / "page.html"
    file.write_text(evaluation_page(report, learning(report)), encoding="utf-8")
    opened = reader.open(file, width=width, dark=dark)
    assert opened.complaints(file) == []
    names = opened.page.locator("[data-figure]").evaluate_all("all => all.map(e => e.dataset.figure)")
    assert names == ["frontier", "histograms", "calibration", "learning", "query-0", "query-1"]
    assert opened.page.locator("[data-figure] svg").count() == 6
    words = opened.page.locator("body").inner_text()
    assert "curve: beats" in words
    assert "the price of tea" in words
    assert opened.page.title() == "Estimators of λ on test questions"
    assert words.count(EVIL) >= 3, "names and prompts are shown as they are"


def test_only_what_was_measured_is_drawn(report: EvaluationReport) -> None:
    names = [each.name for each in evaluation_figures(report)]
    assert names == ["frontier", "histograms", "calibration", "query-0", "query-1"]
    bare = msgspec.structs.replace(report, rows=report.rows[1:], shown=())
    assert [each.name for each in evaluation_figures(bare)] == ["frontier", "histograms"]
    assert "Some questions" not in evaluation_page(bare)


def test_the_gain_in_the_table_is_the_measured_one(report: EvaluationReport) -> None:
    gain = report.rows[0].judgement.over_hull
    assert gain.interval is not None
    told = f"{100 * gain.value:+.1f} [{100 * gain.interval.low:+.1f}, {100 * gain.interval.high:+.1f}]"
    assert told in evaluation_page(report)


def test_learning_curves_are_read_or_refused(report: EvaluationReport, tmp_path: Path) -> None:
    file = tmp_path / "learning.json"
    file.write_bytes(msgspec.json.encode(learning(report)))
    assert read_learning(file) == learning(report)
    file.write_text('[{"name": 1}]')
    with pytest.raises(InputRefused, match=r"learning.json: Expected `str`, got `int`"):
        read_learning(file)
    with pytest.raises(InputRefused, match=r"none.json: No such file"):
        read_learning(tmp_path / "none.json")
