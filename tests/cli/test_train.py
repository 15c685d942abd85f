"""`dami-merge train`, `pairs` and `route` as they are typed, with the bundled pair."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from dami_merge.cli.main import commands
from dami_merge.estimators.artefact import load_estimator
from tests.cli.test_grid import run

QUICK = ("-O", "draws=4", "-O", "parts=16", "--folds", 2)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled pair at three λ."""
    folder = tmp_path_factory.mktemp("trained") / "grid"
    assert run("grid", "-o", folder, "--lambdas", "0,1/2,1").exit_code == 0
    return folder


@pytest.fixture(scope="module")
def rollouts(grid: Path) -> Path:
    """40 questions, twice at each λ."""
    path = grid.parent / "r.jsonl"
    asked = ("--questions", "bundled:train", "--limit", 40, "--samples", 2, "--max-tokens", 64)
    result = run("sweep", grid, "-o", path, *asked, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="module")
def est(grid: Path, rollouts: Path) -> Path:
    folder = grid.parent / "est"
    result = run("train", "curve", grid, "--rollouts", rollouts, "-o", folder, *QUICK, "--mu", 0.1)
    assert result.exit_code == 0, result.stderr
    return folder


def test_training_says_what_was_learned_how_far_it_goes_and_what_is_next(
    grid: Path, rollouts: Path, tmp_path: Path
) -> None:
    result = run(
        "train", "curve", grid, "--rollouts", rollouts, "-o", tmp_path / "e", *QUICK, "--tokens", 1e4
    )
    assert result.exit_code == 0, result.stderr
    assert "curve on text: 40 queries, 240 answers at 3 λ" in result.stdout
    assert re.search(r"left out  accuracy \d+\.\d% at \d+\.\d tokens; Thinking \d+\.\d% at", result.stdout)
    assert "the most accurate setting within 10000 tokens" in result.stdout
    assert f"next: dami-merge evaluate {grid} --estimator {tmp_path / 'e'}" in result.stdout
    assert result.stderr == ""
    trained = load_estimator(tmp_path / "e")
    assert trained.goal.tokens == 10_000
    assert trained.origin.queries == 40


def test_pref_says_how_many_pairs_it_was_fitted_on(grid: Path, rollouts: Path, tmp_path: Path) -> None:
    asked = ("--rollouts", rollouts, "-o", tmp_path / "e", *QUICK, "-O", "rule=hard")
    shown = run("train", "pref", grid, *asked)
    assert shown.exit_code == 0, shown.stderr
    found = re.search(
        r"pairs +(\d+) by accuracy, (\d+) by tokens; (\d+) undecided, (\d+) dropped", shown.stdout
    )
    assert found is not None
    assert sum(map(int, found.groups())) == 40 * 3
    value = json.loads(run("train", "pref", grid, *asked, "--json").stdout)
    assert value["pairs"]["by_accuracy"] == int(found[1])
    assert value["settings"]["rule"] == "hard"
    assert value["static"]["lambdas"] == [0, 0.5, 1]


def test_pairs_counts_what_each_rule_makes_and_drops(rollouts: Path) -> None:
    shown = run("pairs", "--rollouts", rollouts)
    assert shown.exit_code == 0, shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:4]] == ["hard", "robust", "soft"]
    assert shown.stdout.splitlines()[-1].startswith("40 queries, of which no λ answers ")
    value = json.loads(run("pairs", "--rollouts", rollouts, "-O", "unanswered=cheapest", "--json").stdout)
    for counts in value.values():
        total = sum(counts[name] for name in ("by_accuracy", "by_tokens", "undecided", "dropped"))
        assert total == 40 * 3
        assert counts["dropped"] == 0
    refused = run("pairs", "--rollouts", rollouts, "-O", "margin=2")
    assert refused.exit_code == 2
    assert "the options are rule, unanswered, margin, cost_weight" in refused.stderr


def test_a_decision_is_explained(grid: Path, est: Path) -> None:
    result = run("route", grid, "7a-3b*3c-2", "--estimator", est)
    assert result.exit_code == 0, result.stderr
    assert "curve on text" in result.stdout
    assert "goal       μ = 0.1, guard 0.5: the price that was asked for" in result.stdout
    assert "spent      0 tokens" in result.stdout
    value = json.loads(
        run("route", grid, "7a-3b*3c-2", "--estimator", est, "--guard", 0, "--mu", 9, "--json").stdout
    )
    rows = value["rows"]
    assert [row["lambda"] for row in rows] == ["0", "1/2", "1"]
    best = max(rows, key=lambda row: row["utility"])
    assert value["route"]["lam"] == best["lambda"] == "0"  # tokens are dear
    assert value["route"]["source"] == "estimator"
    assert value["setting"]["mu"] == 9


def test_queries_come_from_a_pipe_or_a_file_of_lines(grid: Path, est: Path, tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(
        '"1+1"\n\n{"prompt": "7a-3b"}\n{"messages": [{"role": "user", "content": "2c"}]}\n', encoding="utf-8"
    )
    result = run("route", grid, file, "--batch", "--estimator", est)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3
    values = json.loads(run("route", grid, file, "--batch", "--estimator", est, "--json").stdout)
    alone = json.loads(run("route", grid, "7a-3b", "--estimator", est, "--json").stdout)
    assert values[1]["route"] == alone["route"]
    piped = CliRunner().invoke(
        commands, ["route", str(grid), "-", "--estimator", str(est), "--json"], input="7a-3b"
    )
    assert json.loads(piped.stdout) == alone


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('"fine"\n{"text": "?"}\n', "line 2 is neither a string nor an object with `prompt` or `messages`"),
        ("not json\n", "line 1: JSON is malformed"),
        ("\n", "there are no queries"),
    ],
)
def test_lines_that_are_no_queries_are_named(
    grid: Path, est: Path, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(content, encoding="utf-8")
    result = run("route", grid, file, "--batch", "--estimator", est)
    assert result.exit_code == 3
    assert said in result.stderr
    missing = run("route", grid, tmp_path / "none.jsonl", "--batch", "--estimator", est)
    assert missing.exit_code == 3
    assert "none.jsonl: No such file" in missing.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--mu", "1", "--tokens", "3"), 2, "mu and tokens are two goals"),
        (("--accuracy", "much"), 2, "'much' is not a share"),
        (("--accuracy", "thinking-x"), 2, "'x' is not a share"),
        (("--risk", "1%"), 2, "is not a drop and a probability"),
        (("--risk", "1%,5"), 2, "is not between 0 and 1"),
        (("--guard", "0.3"), 2, "a guard of 0.3 was not measured"),
        (("--accuracy", "100%", "--guard", "0"), 2, "no setting has an accuracy of 100.0%"),
        (("--estimator", "nowhere"), 3, "nowhere/estimator.json: No such file"),
    ],
)
def test_a_goal_that_cannot_be_read_or_met_is_refused(
    grid: Path, est: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    own = options if "--estimator" in options else ("--estimator", est, *options)
    result = run("route", grid, "7a", *own)
    assert result.exit_code == code
    assert said in result.stderr


def test_goals_are_read_as_they_are_written(grid: Path, est: Path) -> None:
    for options, met in {
        ("--accuracy", "thinking-100%"): "the cheapest with a drop of at most 100.0%",
        ("--accuracy", "0"): "the cheapest with an accuracy of 0.0%",
        ("--accuracy", " 0.1% "): "the cheapest with an accuracy of 0.1%",
        ("--risk", "99%,0.4"): "the cheapest with a drop above 99.0% with a probability of at most 0.4",
    }.items():
        value = json.loads(run("route", grid, "7a", "--estimator", est, *options, "--json").stdout)
        assert value["setting"]["met"] == met


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("oracle",), 2, "there is no estimator 'oracle'"),
        (("curve", "-O", "ridge"), 2, "the option 'ridge' has no value"),
        (("curve", "-O", "bogus=1"), 2, "bogus"),
        (("curve", "--features", "smell"), 2, "there are no features 'smell'"),
        (("curve", "--limit", 5), 3, "5 queries have answers at every λ; an estimator needs 20"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    grid: Path, rollouts: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, said: str
) -> None:
    kind, *options = arguments
    result = run("train", kind, grid, "--rollouts", rollouts, "-o", tmp_path / "e", *options)
    assert result.exit_code == code
    assert said in result.stderr
    assert not (tmp_path / "e").exists()


def test_a_folder_that_holds_something_else_is_left_alone(grid: Path, rollouts: Path) -> None:
    result = run("train", "constant", grid, "--rollouts", rollouts, "-o", grid)
    assert result.exit_code == 3
    assert "which is not part of an estimator" in result.stderr


def test_rollouts_of_another_grid_are_refused(
    rollouts: Path, tmp_path: Path, pair_folders: tuple[Path, Path]
) -> None:
    assert run("grid", *pair_folders, "-o", tmp_path / "grid", "--lambdas", "0,1").exit_code == 0
    result = run("train", "constant", tmp_path / "grid", "--rollouts", rollouts, "-o", tmp_path / "e")
    assert result.exit_code == 2
    assert "holds answers of other weights" in result.stderr
