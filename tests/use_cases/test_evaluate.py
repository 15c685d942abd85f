"""Evaluations of artefacts and of fits, in a world whose curves are known."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge.errors import InputRefused, UsageError
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.goal import Goal
from dami_merge.estimators.judge.evaluated import EvaluationReport, evaluation_value
from dami_merge.grid.manifest import read_grid, weights_digest
from dami_merge.use_cases.entrants import Maker, read_entry
from dami_merge.use_cases.evaluate import evaluate_estimators
from dami_merge.use_cases.evaluation import Entry, Evaluation
from dami_merge.use_cases.train import Training, train_estimator
from tests.estimators.world import LAMBDAS, world
from tests.estimators.written import write_examples

QUICK = {"draws": 4, "parts": 32, "neighbours": 8, "shrink": 0.0}
KNN = Entry("knn", options=QUICK)
CONTROLS = (
    Entry("category", options={"draws": 4}, name="category only", control=True),
    Entry("knn", "length", QUICK, name="length only", control=True),
)


def renamed(examples: Examples, prefix: str) -> Examples:
    return replace(
        examples, questions=tuple(replace(each, id=f"{prefix}{each.id}") for each in examples.questions)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rollouts for training, for testing, of another family, and of paraphrases."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_examples(folder / "train.jsonl", renamed(world(150, 4, 1), "train-"))
    test = world(120, 4, 2)
    write_examples(folder / "test.jsonl", test)
    write_examples(folder / "heldout.jsonl", renamed(world(60, 4, 3, kinds=("hidden",)), "far-"))
    paraphrased = world(120, 4, 4)
    asked = tuple(replace(each, id=f"{each.id}-p") for each in paraphrased.questions)
    write_examples(folder / "paraphrased.jsonl", replace(paraphrased, questions=asked))
    return folder


@pytest.fixture(scope="module")
def artefact(folder: Path, tiny_grid: Path) -> Path:
    train_estimator(
        Training("knn", options=QUICK, folds=2), tiny_grid, folder / "train.jsonl", folder / "est"
    )
    return folder / "est"


@pytest.fixture(scope="module")
def report(folder: Path, tiny_grid: Path, artefact: Path) -> EvaluationReport:
    evaluation = Evaluation(
        folder / "test.jsonl",
        estimators=(str(artefact),),
        train=folder / "train.jsonl",
        entries=(KNN, Entry("constant")),
        controls=CONTROLS,
        seeds=2,
        goal=Goal(mu=0.1, guard=0),
        heldout=folder / "heldout.jsonl",
        paraphrased=folder / "paraphrased.jsonl",
        folds=2,
    )
    return evaluate_estimators(evaluation, tiny_grid)


def test_artefacts_fits_and_controls_stand_in_one_table(report: EvaluationReport, artefact: Path) -> None:
    assert [row.name for row in report.rows] == [
        str(artefact), "knn", "constant", "category only", "length only",
    ]  # fmt: skip
    assert [each.name for each in report.entrants] == [row.name for row in report.rows]
    assert [row.control for row in report.rows] == [False, False, False, True, True]
    assert [len(each.settings) for each in report.entrants] == [1, 2, 2, 2, 2]
    assert report.entrants[0].source == str(artefact)
    assert all(each.queries == 150 for each in report.entrants)
    assert all(each.milliseconds is not None and each.milliseconds > 0 for each in report.entrants)
    assert (report.seeds, report.queries, report.answers, report.lambdas) == (2, 120, 2400, LAMBDAS)
    assert report.co_failures == 0


def test_what_reads_the_prompt_wins_and_what_cannot_does_not(report: EvaluationReport) -> None:
    kept, fitted, constant, category, length = report.rows
    assert fitted.ruling.kind == "beats"
    assert kept.ruling.kind == "beats"
    assert kept.judgement.histogram == pytest.approx(fitted.judgement.histogram, abs=0.1)
    assert constant.ruling.kind == "nothing"
    assert constant.judgement.over_hull.value == pytest.approx(0, abs=0.02)
    assert category.judgement.over_hull.value > length.judgement.over_hull.value + 0.05
    assert "category only" in fitted.ruling.sentences[1], "which knows the kind of every query"
    assert not any("length only" in sentence for sentence in fitted.ruling.sentences)


def test_controls_are_tried_on_everything_but_what_needs_none(report: EvaluationReport) -> None:
    kept, fitted, constant, category, _ = report.rows
    for row in (kept, fitted):
        assert row.shuffled is not None
        assert len(row.shuffled.each) == 2
        assert row.shuffled.gain.value < row.judgement.over_hull.value - 0.05
    assert constant.shuffled is None
    assert category.shuffled is None
    assert fitted.paraphrased is not None
    assert fitted.paraphrased.queries == 120
    assert fitted.paraphrased.order is not None
    assert fitted.paraphrased.order > 0.6
    assert fitted.heldout is not None
    assert fitted.heldout.judgement.queries == 60
    gain = fitted.heldout.judgement.over_hull.interval
    assert gain is not None
    assert gain.low < 0.02, "nothing in the text of a hidden query says what it needs"


def test_queries_are_shown_from_the_least_to_the_greatest_need(report: EvaluationReport) -> None:
    assert report.shown_by == report.rows[0].name
    assert len(report.shown) == 6
    first, last = report.shown[0], report.shown[-1]
    assert first.accuracy[0] > last.accuracy[0]
    assert last.group == "hard"
    assert last.chosen > first.chosen
    assert len(first.predicted) == len(first.cost) == len(first.tokens) == 5


def test_the_value_holds_every_figure_and_exact_lambdas(report: EvaluationReport) -> None:
    value = evaluation_value(report)
    assert value["lambdas"] == ["0", "1/4", "1/2", "3/4", "1"]
    rows = value["rows"]
    assert isinstance(rows, list)
    assert rows[1]["judgement"]["over_hull"]["value"] == report.rows[1].judgement.over_hull.value
    assert rows[1]["failures"] == list(report.rows[1].signatures.failures)


def test_lambdas_that_some_lack_are_left_out_but_not_the_ends(
    folder: Path, tiny_grid: Path, tmp_path: Path
) -> None:
    some = write_examples(tmp_path / "some.jsonl", world(60, 2, 5).at((LAMBDAS[0], LAMBDAS[2], LAMBDAS[4])))
    evaluation = Evaluation(
        some, train=folder / "train.jsonl", entries=(Entry("constant"),), controls=(), seeds=1, folds=2
    )
    found = evaluate_estimators(evaluation, tiny_grid)
    assert found.lambdas == (Fraction(0), Fraction(1, 2), Fraction(1))
    half = write_examples(tmp_path / "half.jsonl", world(60, 2, 5).at(LAMBDAS[:4]))
    with pytest.raises(InputRefused, match=r"λ = 1\.00 of the test rollouts is missing"):
        evaluate_estimators(replace(evaluation, rollouts=folder / "test.jsonl", train=half), tiny_grid)


def test_what_was_trained_on_is_no_test(folder: Path, tiny_grid: Path, artefact: Path) -> None:
    train = folder / "train.jsonl"
    with pytest.raises(InputRefused, match=r"150 of 150 questions of .*train.jsonl, such as 'train-q0'"):
        evaluate_estimators(Evaluation(train, train=train), tiny_grid)
    with pytest.raises(InputRefused, match=r"est was trained on .*train.jsonl itself"):
        evaluate_estimators(Evaluation(train, estimators=(str(artefact),)), tiny_grid)


def test_without_anything_to_judge_or_with_other_weights_it_is_refused(
    folder: Path, tiny_grid: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="there is nothing to evaluate"):
        evaluate_estimators(Evaluation(folder / "test.jsonl"), tiny_grid)
    other = write_examples(tmp_path / "other.jsonl", world(30, 2, 0), weights="blake3:0")
    with pytest.raises(UsageError, match=r"other.jsonl holds answers of other weights"):
        evaluate_estimators(Evaluation(other), tiny_grid)
    own = weights_digest(read_grid(tiny_grid))
    same = write_examples(tmp_path / "same.jsonl", world(30, 2, 0), weights=own)
    with pytest.raises(UsageError, match="there is nothing to evaluate"):
        evaluate_estimators(Evaluation(same), tiny_grid)


def test_entries_are_read_with_their_features() -> None:
    assert read_entry("curve") == Entry("curve")
    assert read_entry(" knn:encoder:/models/x ") == Entry("knn", "encoder:/models/x")
    with pytest.raises(UsageError, match="there is no estimator 'magic'"):
        read_entry("magic")


def test_one_fit_serves_every_goal(folder: Path, tiny_grid: Path) -> None:
    made = Maker(tiny_grid, Evaluation(folder / "test.jsonl", folds=2))
    examples = world(60, 4, 6)
    first = made.fit(KNN, examples, 0)
    other = made.fit(replace(KNN, goal=Goal(mu=3.0, guard=0)), examples, 0)
    assert other.trained is first.trained
    assert (other.setting.mu, first.trained.goal) == (3.0, Goal())
    assert made.fit(KNN, examples, 1).trained is not first.trained
    assert made.fit(KNN, examples.part(range(59, -1, -1)), 0).trained is not first.trained
