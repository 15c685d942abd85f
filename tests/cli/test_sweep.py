"""`dami-merge sweep` and `dami-merge report` as they are typed, with the bundled pair."""

import json
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge.evaluation.rollouts_file import read_rollouts, read_sidecar
from tests.cli.test_grid import run

THREE = ("--lambdas", "0,1/2,1")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled pair at three λ."""
    folder = tmp_path_factory.mktemp("swept") / "grid"
    assert run("grid", "-o", folder, *THREE).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def rollouts(grid: Path) -> Path:
    """30 questions, twice at each λ."""
    path = grid.parent / "r.jsonl"
    result = run("sweep", grid, "-o", path, "--limit", 30, "--samples", 2, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    return path


def test_a_sweep_shows_a_row_for_each_lambda_and_what_it_means(grid: Path, rollouts: Path) -> None:
    result = run("sweep", grid, "-o", rollouts, "--limit", 30, "--samples", 2, "--device", "cpu")
    rows = [
        line.split() for line in result.stdout.splitlines() if line[:4].strip() in {"0.00", "0.50", "1.00"}
    ]
    assert [row[0] for row in rows] == ["0.00", "0.50", "1.00"]
    accuracies = [float(row[1].rstrip("%")) for row in rows]
    assert accuracies[0] < accuracies[1] < accuracies[2]
    assert "From λ = 0.00 to 1.00 accuracy goes from" in result.stdout
    assert f"dami-merge report --rollouts {rollouts}" in result.stdout
    assert "180 answers are there" in result.stderr


def test_the_recipe_of_the_grid_says_how_answers_are_sampled_and_flags_override_it(
    grid: Path, rollouts: Path, tmp_path: Path
) -> None:
    settings = read_sidecar(rollouts).settings
    assert (settings.temperature, settings.max_tokens) == (0.6, 96)
    assert (settings.top_p, settings.top_k) == (0.95, 20)
    path = tmp_path / "greedy.jsonl"
    result = run(
        "sweep", grid, "-o", path, "--limit", 3, "--samples", 1, "--temperature", 0, "--max-tokens", 40,
        "--lambdas", "1", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0
    settings = read_sidecar(path).settings
    assert (settings.temperature, settings.max_tokens) == (0, 40)
    assert len(read_rollouts(path)) == 3


def test_other_settings_in_one_file_are_refused(grid: Path, rollouts: Path) -> None:
    before = rollouts.read_bytes()
    result = run("sweep", grid, "-o", rollouts, "--limit", 30, "--samples", 2, "--seed", 7, "--device", "cpu")
    assert result.exit_code == 3
    assert "seed was 0, is 7" in result.stderr
    assert rollouts.read_bytes() == before


def test_a_live_pair_gives_the_answers_of_its_grid(rollouts: Path, tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    pair = ("bundled:tiny/instruct", "bundled:tiny/thinking")
    result = run(
        "sweep", "--live", *pair, *THREE, "-o", path, "--limit", 30, "--samples", 2, "--device", "cpu"
    )
    assert result.exit_code == 0, result.stderr
    assert _answers(path) == _answers(rollouts)


def _answers(path: Path) -> dict[tuple[Fraction, str, int], tuple[str, int]]:
    return {(row.lam, row.question, row.sample): (row.text, row.tokens) for row in read_rollouts(path)}


def test_json_is_the_whole_summary_on_stdout(grid: Path, rollouts: Path) -> None:
    result = run("sweep", grid, "-o", rollouts, "--limit", 30, "--samples", 2, "--device", "cpu", "--json")
    value = json.loads(result.stdout)
    assert value["lambdas"] == ["0/1", "1/2", "1/1"]
    assert [row["samples"] for row in value["overall"]["rows"]] == [60, 60, 60]
    assert value["overall"]["comparison"]["questions"] == 30


def test_questions_graders_and_lambdas_of_the_user_are_taken(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"id": "x", "prompt": "1a+8b*7", "answer": "3"}\n', encoding="utf-8")
    (tmp_path / "mine.py").write_text("def always(question, text):\n    return True\n", encoding="utf-8")
    path = tmp_path / "r.jsonl"
    result = run(
        "sweep", grid, "-o", path, "--questions", tmp_path / "q.jsonl", "--samples", 3, "--lambdas", "1/2",
        "--grader", f"{tmp_path / 'mine.py'}:always", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    rows = read_rollouts(path)
    assert [(row.question, row.fraction, row.correct) for row in rows] == [("x", "1/2", True)] * 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--lambdas", "0.3"), 2, "the grid has no λ = 0.30"),
        (("--questions", "no-such.jsonl"), 3, "no-such.jsonl"),
        (("--output", "no/such/folder/r.jsonl"), 2, "there is no folder"),
        (("--grader", "nothing"), 2, "names no grader"),
        (("--max-tokens", "100000"), 2, "context"),
        (("--base-url", "http://127.0.0.1:9/v1", "--model-name", "same", "--limit", "1"), 2, "same model"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    grid: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = run("sweep", grid, "-o", tmp_path / "r.jsonl", "--device", "cpu", *arguments)
    assert result.exit_code == code, result.stderr
    assert words in result.stderr


def test_a_pair_of_ones_own_needs_questions(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    run("grid", *pair_folders, "-o", tmp_path / "grid", "--lambdas", "0,1")
    result = run("sweep", tmp_path / "grid", "-o", tmp_path / "r.jsonl")
    assert result.exit_code == 2
    assert "no questions were given" in result.stderr
    assert not (tmp_path / "r.jsonl").exists()


def test_a_report_writes_the_page_and_every_figure(grid: Path, rollouts: Path, tmp_path: Path) -> None:
    page, figures = tmp_path / "page.html", tmp_path / "figures"
    result = run("report", grid, "--rollouts", rollouts, "-o", page, "--figures", figures)
    assert result.exit_code == 0, result.stderr
    assert "tiny: accuracy against tokens over λ" in page.read_text(encoding="utf-8")
    names = {path.stem for path in figures.iterdir()}
    assert names >= {"frontier", "accuracy", "tokens", "thinking", "group-0"}
    for name in names:
        assert ET.parse(figures / f"{name}.svg").getroot().tag.endswith("svg")
        assert (figures / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_report_of_fewer_lambdas_says_so_as_json(rollouts: Path, tmp_path: Path) -> None:
    result = run("report", "--rollouts", rollouts, "-o", tmp_path / "p.html", "--lambdas", "0,1", "--json")
    assert json.loads(result.stdout)["lambdas"] == ["0/1", "1/1"]


def test_a_report_without_rollouts_is_refused(tmp_path: Path) -> None:
    result = run("report", "--rollouts", tmp_path / "no.jsonl", "-o", tmp_path / "p.html")
    assert result.exit_code == 3
    assert "no.jsonl: No such file" in result.stderr
    assert not (tmp_path / "p.html").exists()
