"""`dami-merge plan-rollouts` as it is typed, and the sweep that follows its plan."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from dami_merge import InProcess, SweepRecipe, read_rollouts, sweep
from dami_merge.bundled import bundled_split
from dami_merge.errors import InputRefused, LambdaError, UsageError
from dami_merge.use_cases.plan_rollouts import plan_rollouts
from dami_merge.use_cases.planned import read_planned
from tests.cli.test_grid import run

CPU = InProcess(device="cpu")


@pytest.fixture(scope="module")
def swept(tiny_grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 questions, twice at each of three λ."""
    path = tmp_path_factory.mktemp("planned") / "r.jsonl"
    sweep(tiny_grid, path, SweepRecipe(samples=2, limit=12, max_tokens=64), engine=CPU)
    return path


def copied(swept: Path, folder: Path) -> Path:
    for file in swept.parent.glob("r.jsonl*"):
        shutil.copy(file, folder / file.name)
    return folder / "r.jsonl"


def test_a_plan_is_shown_and_the_sweep_that_follows_it_generates_just_its_answers(
    tiny_grid: Path, swept: Path, tmp_path: Path
) -> None:
    path, plan = copied(swept, tmp_path), tmp_path / "plan.jsonl"
    result = run("plan-rollouts", "--rollouts", path, "--budget", 20, "-o", plan)
    assert result.exit_code == 0, result.stderr
    assert "20 answers of about" in result.stdout
    assert "0 questions lack answers" in result.stdout
    assert "questions until ±1 point:" in result.stdout
    assert f"--plan {plan}" in result.stdout
    before = {(row.question, row.fraction, row.sample) for row in read_rollouts(path)}
    again = run(
        "sweep", tiny_grid, "-o", path, "--limit", 12, "--max-tokens", 64, "--plan", plan, "--device", "cpu"
    )
    assert again.exit_code == 0, again.stderr
    after = {(row.question, row.fraction, row.sample) for row in read_rollouts(path)}
    assert (len(before), len(after)) == (72, 92)
    held = Counter((question, fraction) for question, fraction, _ in after)
    for cell in read_planned(plan):
        assert cell.held < held[cell.question, cell.fraction] == cell.samples


def test_json_holds_the_plan_the_tables_and_the_precision(swept: Path) -> None:
    result = run("plan-rollouts", "--rollouts", swept, "--budget", 12, "--per", "token", "--json")
    value = json.loads(result.stdout)
    assert (value["questions"], value["budget"], value["per"]) == (12, 12, "token")
    assert sum(row["more"] for row in value["rows"]) == 12
    assert sum(cell["samples"] - cell["held"] for cell in value["cells"]) == 12
    assert value["after"] < value["even"] < value["before"]
    assert [row["lambda"] for row in value["spreads"]] == ["0/1", "2/5"]


def test_new_questions_are_completed_and_too_few_questions_are_said(tiny_grid: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sweep(tiny_grid, path, SweepRecipe(samples=1, limit=1, max_tokens=8), engine=CPU)
    settings = tmp_path / "r.jsonl.settings.json"
    value = json.loads(settings.read_text())
    (first,) = value["questions"].values()
    value["questions"] |= {f"new{each}": {**first, "id": f"new{each}"} for each in range(2)}
    settings.write_text(json.dumps(value))
    whole = run("plan-rollouts", "--rollouts", path, "--budget", 3)
    assert "3 answers of about" in whole.stdout
    assert "to 1 of 3 questions; 2 questions lack answers at some λ now" in whole.stdout
    assert "precision: too few questions, or a single λ" in whole.stdout


def test_a_plan_does_not_replace_the_rollouts_and_has_a_budget(swept: Path, tmp_path: Path) -> None:
    path = copied(swept, tmp_path)
    for target in (path, path.with_name("r.jsonl.settings.json")):
        content = target.read_bytes()
        refused = run("plan-rollouts", "--rollouts", path, "-o", target)
        assert (refused.exit_code, target.read_bytes()) == (2, content)
        assert "the plan would replace" in refused.stderr
    with pytest.raises(UsageError, match="a budget of 0 answers"):
        plan_rollouts(path, 0)


LINE = '{"question":"x","lambda":"0/1","held":0,"samples":1}\n'


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ("", "plans no answer"),
        ("{}\n", "line 1: Object missing required field"),
        (LINE + LINE.replace("}", ',"more":1}'), "line 2: Object contains unknown field"),
        (LINE.replace("0/1", "3/2"), "line 1: λ = 3/2 is outside"),
        (LINE.replace('"samples":1', '"samples":0'), "line 1: Expected `int` >= 1"),
        ("[" * 5000, "line 1"),
    ],
)
def test_a_malformed_plan_is_refused(tmp_path: Path, content: str, fact: str) -> None:
    path = tmp_path / "plan.jsonl"
    path.write_text(content)
    with pytest.raises(InputRefused, match=fact):
        read_planned(path)


def test_a_plan_that_is_missing_or_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="No such file"):
        read_planned(tmp_path / "none.jsonl")
    with pytest.raises(InputRefused, match="not a regular file"):
        read_planned(Path("/dev/zero"))


def test_a_plan_for_other_questions_or_lambdas_or_with_samples_is_refused(
    tiny_grid: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.jsonl"
    plan.write_text(LINE)
    asked = SweepRecipe(plan=str(plan), limit=3)
    with pytest.raises(InputRefused, match="1 questions that the sweep lacks, such as 'x'"):
        sweep(tiny_grid, tmp_path / "r.jsonl", asked, engine=CPU)
    with pytest.raises(UsageError, match="a plan and a number of samples"):
        sweep(tiny_grid, tmp_path / "r.jsonl", SweepRecipe(plan=str(plan), samples=2), engine=CPU)
    known = json.loads(bundled_split("test").read_text().splitlines()[0])["id"]
    plan.write_text(LINE.replace('"x"', json.dumps(known)).replace("0/1", "1/7"))
    with pytest.raises(LambdaError, match="is not in this sweep"):
        sweep(tiny_grid, tmp_path / "r.jsonl", asked, engine=CPU)
