"""The tools still run, on the smallest jobs that can fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dami_merge.report.evaluation import read_learning
from tests.estimators.world import world
from tests.estimators.written import write_examples
from tests.use_cases.test_evaluate import renamed

ROOT = Path(__file__).parent.parent


def tool(name: str, *arguments: object) -> str:
    """What a tool prints; a tool that fails fails the test with its output."""
    command = [sys.executable, str(ROOT / "tools" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_killed_runs_resume_byte_identical(tmp_path: Path) -> None:
    output = tool("kill_test.py", "--kills", 5, "--gigabytes", 0.1, "--folder", tmp_path)
    assert "5 of 5 byte-identical after kill -9 and resume" in output


@pytest.mark.slow
def test_our_bytes_are_mergekits_own_commands_bytes(tmp_path: Path) -> None:
    output = tool("compare_mergekit.py", "--gigabytes", 0.1, "--lambdas", "3/10", "--folder", tmp_path)
    assert "λ = 0.30: 90,708,224 bytes compared, 0 differ" in output


@pytest.mark.slow
def test_a_pair_is_trained_and_measured_from_nothing(tmp_path: Path) -> None:
    quick = ("--minutes", 0.05, "--samples", 2, "--questions", 10)
    tool("train_tiny_pair.py", *quick, "--output", tmp_path / "tiny")
    table = json.loads((tmp_path / "tiny" / "lambda_table.json").read_text(encoding="utf-8"))
    assert [row["lambda"] for row in table["rows"]] == [k / 10 for k in range(11)]


@pytest.mark.slow
def test_the_bundled_estimators_are_trained_from_nothing_twice_to_the_same_bytes(tmp_path: Path) -> None:
    quick = ("--limit", 24, "--samples", 2)
    for name in ("one", "two"):
        output = tool(
            "train_bundled_estimators.py",
            *quick,
            "--output",
            tmp_path / name,
            "--work",
            tmp_path / "work",  # the rollouts are kept: their wall times differ from sweep to sweep
        )
        assert output.count("λ of 50 validation questions") == 3
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert {str(path.parent) for path in files} == {"default", "pref", "conf"}
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


@pytest.mark.slow
def test_the_bundled_pair_is_a_dial_and_a_pair_that_is_fine_tuned_for_longer_a_switch() -> None:
    quick = ("--pair", "40x5e-3", "--questions", 3)
    lines = [line.split(" | ") for line in tool("calibrate_dial.py", *quick).splitlines()[2:]]
    assert [(line[0], line[2], line[-1]) for line in lines] == [
        ("| bundled", "yes yes", "dial |"),
        ("| 40x5e-3", "yes yes", "switch |"),
    ]


@pytest.mark.slow
def test_the_benchmarks_measure_everything_they_name(tmp_path: Path) -> None:
    few = ("--rounds", 1, "--steps", 2, "--multi-lambdas", 1, "--naive-lambdas", 1)
    for layout in ("qwen3", "small", "large"):
        others = (
            () if layout == "qwen3" else ("--mergekit-lambdas", 0, "--multi-lambdas", 0, "--naive-lambdas", 0)
        )
        output = tool(
            "bench_grid.py", *few, "--gigabytes", 0.15, "--layout", layout, "--folder", tmp_path, *others
        )
        record = json.loads(output.splitlines()[-1])
        named = {"raw", "grid", "check"} | ({"naive", "mergekit", "multi"} if not others else set())
        assert named <= record.keys()
        assert all(min(record[name]["wall_s"]) > 0 for name in named)
        assert record["ceilings"]["warm_read_1_gb_s"] > 0
    live = json.loads(tool("bench_live.py", "--gigabytes", 0.15, "--repeats", 2).splitlines()[-1])
    assert all(facts["to_limit"] > 0 for facts in live["kernels"].values())


def test_the_benchmarks_write_into_sections_that_the_readme_of_the_tools_has() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import readme_section; print(readme_section.README)"
    )
    command = [sys.executable, "-c", program, str(ROOT / "tools")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == ROOT / "tools" / "README.md"
    text = (ROOT / "tools" / "README.md").read_text(encoding="utf-8")
    for name in ("bench_grid", "bench_live"):
        assert f'put_section("{name}", lines)' in (ROOT / "tools" / f"{name}.py").read_text(encoding="utf-8")
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- end {name} -->\n") == 1


def test_a_section_of_the_readme_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- x -->\nold\n<!-- end x -->\nb\n", encoding="utf-8")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from readme_section import put_section; put_section(sys.argv[3], ['new', 'λ'], Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(ROOT / "tools"), str(readme)]
    subprocess.run([*command, "x"], check=True)
    assert readme.read_text(encoding="utf-8") == "a\n<!-- x -->\nnew\nλ\n<!-- end x -->\nb\n"
    done = subprocess.run([*command, "y"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "has no section between <!-- y -->" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["learning", "budget", "controls", "main"])
def test_experiments_write_a_row_for_each_estimator(experiment: str, tmp_path: Path, tiny_grid: Path) -> None:
    write_examples(tmp_path / "train.jsonl", renamed(world(200, 4, 1), "train-"))
    write_examples(tmp_path / "test.jsonl", world(60, 4, 2))
    output = tool(
        "experiments.py", experiment, tiny_grid, "--train", tmp_path / "train.jsonl",
        "--test", tmp_path / "test.jsonl", "--seeds", 1, "--folds", 2, "--mu", 0.1, "--quick",
        "-o", tmp_path / "results",
    )  # fmt: skip
    assert output == (tmp_path / "results" / f"{experiment}.md").read_text(encoding="utf-8")
    first = {line.split(" | ")[0].removeprefix("| ") for line in output.splitlines()[2:]}
    expected = {
        "learning": {"pref hard", "pref soft", "pred", "curve", "knn"},
        "budget": {"K = 1, 3 λ", "K = 1, 5 λ", "K = 2, 3 λ", "K = 2, 5 λ"},
        "controls": {"curve", "pref", "pred", "knn", "kmeans", "constant", "category only", "length only"},
    }
    assert first >= expected.get(experiment, expected["controls"])
    value = json.loads((tmp_path / "results" / f"{experiment}.json").read_text(encoding="utf-8"))
    if experiment == "learning":
        assert read_learning(tmp_path / "results" / "learning.json")[0].queries == 50
    else:
        assert len(value["rows"]) == len(output.splitlines()) - 2
