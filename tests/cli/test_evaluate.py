"""`dami-merge evaluate` as it is typed."""

import json
from pathlib import Path

import pytest

from tests.cli.test_grid import run
from tests.estimators.world import world
from tests.estimators.written import write_examples
from tests.use_cases.test_evaluate import renamed

QUICK = ("-O", "draws=2", "-O", "parts=32", "-O", "neighbours=8", "-O", "shrink=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_grid: Path) -> Path:
    """Rollouts, and an estimator that was trained on some of them."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_examples(folder / "train.jsonl", renamed(world(90, 4, 1), "train-"))
    write_examples(folder / "test.jsonl", world(90, 4, 2))
    trained = run(
        "train", "knn", tiny_grid, "--rollouts", folder / "train.jsonl", "-o", folder / "est", *QUICK,
        "--mu", 0.1, "--guard", 0, "--folds", 2,
    )  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    return folder


def test_an_estimator_that_beats_the_static_mixtures_is_confirmed_within_100_columns(
    folder: Path, tiny_grid: Path
) -> None:
    page = folder / "page.html"
    result = run(
        "evaluate", tiny_grid, "--rollouts", folder / "test.jsonl", "--estimator", folder / "est",
        "--html", page,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    tables, _, verdicts = result.stdout.rpartition("\n\n")
    assert max(map(len, tables.splitlines())) <= 100
    assert "90 test questions, 1,800 answers at 5 λ" in tables
    assert "It beats every static mixture of λ at the same tokens: +" in verdicts
    assert "shuffled" not in tables, "nothing to fit them on"
    assert f"judging {folder / 'est'}" in result.stderr
    assert f"page written: {page}" in result.stderr
    assert "Estimators of λ on test questions" in page.read_text(encoding="utf-8")


def test_json_holds_what_the_table_shows_and_a_static_lambda_is_no_success(
    folder: Path, tiny_grid: Path
) -> None:
    result = run(
        "evaluate", tiny_grid, "--rollouts", folder / "test.jsonl", "--estimator", folder / "est",
        "--mu", 1000, "--json",
    )  # fmt: skip
    assert result.exit_code == 1, "everything goes to the cheapest λ"
    value = json.loads(result.stdout)
    (row,) = value["rows"]
    assert row["ruling"]["kind"] == "nothing"
    assert row["judgement"]["histogram"] == [1, 0, 0, 0, 0]
    assert value["entrants"][0]["settings"][0]["mu"] == 1000


@pytest.mark.slow
def test_controls_alone_can_be_fitted(folder: Path, tiny_grid: Path) -> None:
    result = run(
        "evaluate", tiny_grid, "--rollouts", folder / "test.jsonl", "--train", folder / "train.jsonl",
        "--estimators", "none", "--seeds", 1, "--mu", 0.1, "--guard", 0,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    names = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert "category only" in names
    assert "length only" in names
    assert "fitting length only\n" in result.stderr


def test_what_cannot_be_evaluated_is_refused(folder: Path, tiny_grid: Path, tmp_path: Path) -> None:
    nothing = run("evaluate", tiny_grid, "--rollouts", folder / "test.jsonl")
    assert nothing.exit_code == 2
    assert "there is nothing to evaluate" in nothing.stderr
    unknown = run("evaluate", tiny_grid, "--rollouts", folder / "test.jsonl", "--estimators", "magic")
    assert unknown.exit_code == 2
    assert "there is no estimator 'magic'" in unknown.stderr
    missing = run("evaluate", tiny_grid, "--rollouts", tmp_path / "none.jsonl", "--estimator", folder / "est")
    assert missing.exit_code == 3
    assert "none.jsonl" in missing.stderr
    lost = run(
        "evaluate", tiny_grid, "--rollouts", folder / "test.jsonl", "--estimator", folder / "est",
        "--html", tmp_path / "no" / "page.html",
    )  # fmt: skip
    assert lost.exit_code == 3
    assert "does not exist" in lost.stderr
    learning = run(
        "evaluate", tiny_grid, "--rollouts", folder / "test.jsonl", "--estimator", folder / "est",
        "--html", tmp_path / "page.html", "--learning", tmp_path / "none.json",
    )  # fmt: skip
    assert learning.exit_code == 3
    assert "none.json: No such file" in learning.stderr
