"""`dami-merge sweep` and `dami-merge report` as they are typed, with the bundled pair."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from dami_merge.cli.sweep_view import show_sweep
from dami_merge.errors import RecipeError
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts_file import read_rollouts, read_sidecar, sidecar_path
from dami_merge.evaluation.statistics.summary import summarise
from dami_merge.evaluation.sweep_recipe import SweepRecipe
from tests.cli.test_grid import run
from tests.evaluation.simulated import rollout
from tests.terminal import shown_on

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
    assert "λ is a dial here: λ = 0.50 is more accurate than sending a share of the queries" in result.stdout
    assert "From λ = 0.00 to λ = 1.00, accuracy goes from" in result.stdout
    assert [line for line in result.stdout.splitlines() if line != line.rstrip()] == []
    assert f"dami-merge report --rollouts {rollouts}" in result.stdout
    assert "which holds 180 answers" in result.stderr


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
    assert value["overall"]["comparison"]["conclusion"]["kind"] == "dial"


def _rows(lam: str, count: int, tokens: int) -> list[Rollout]:
    return [
        msgspec.structs.replace(rollout(f"q{n}", lam, correct=n % 3 > 0), tokens=tokens + n)
        for n in range(count)
    ]


def test_a_table_fits_80_columns_and_a_command_is_never_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long answers, ten thousand of them, and a file with a long name, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    rows = [row for lam in ("0", "1/3", "1/8", "1") for row in _rows(lam, 12_000, 80_000)]
    long = Path("a/" + "very-long-name-" * 8 + ".jsonl")
    show_sweep(summarise(rows, seed=0, resamples=20), long)
    *lines, last = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    table = lines[: lines.index("")]
    assert [line.split()[0] for line in table] == ["λ", "0.00", "0.125", "1of3", "1.00"]
    assert table[0].split() == [
        "λ", "accuracy", "95%", "interval", "tokens", "median", "closed", "cut", "answers", "frontier"
    ]  # fmt: skip
    assert {len(line.split()) for line in table[1:]} <= {9, 10}
    assert f"dami-merge report --rollouts {long}" in last


def test_few_questions_have_a_frontier_without_shares(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [rollout("q", lam, correct=lam != "0", tokens=tokens) for lam, tokens in (("0", 9), ("1", 5))]
    show_sweep(summarise(rows, seed=0), Path("r.jsonl"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["no", "yes"]
    assert "one question says nothing about others" in lines[4]
    mixed = [rollout("q", "0", settings="a"), rollout("q", "1", settings="b")]
    show_sweep(summarise(mixed, seed=0), Path("r.jsonl"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[4] == "These answers come from 2 different settings, so the λ cannot be compared."
    apart = [rollout("q", "0"), rollout("p", "1")]
    show_sweep(summarise(apart, seed=0), Path("r.jsonl"))
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in lines[1:3]] == [8, 8]
    assert lines[4].startswith("Nothing can be compared yet")


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
    assert read_sidecar(path).settings.grader.startswith(f"{tmp_path / 'mine.py'}:always@")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit(0)", "SystemExit: 0"),
        ("return 1.0", "returned 1.0"),
        ("time.sleep(60)", "no grade within 0.5 s"),
    ],
)
def test_a_grader_that_does_not_grade_ends_the_sweep_with_its_reason_and_keeps_the_rows(
    grid: Path, tmp_path: Path, body: str, words: str
) -> None:
    code = f"import sys, time\ndef f(q, text):\n    if q.id == 'y':\n        {body}\n    return True\n"
    (tmp_path / "own.py").write_text(code, encoding="utf-8")
    lines = [json.dumps({"id": name, "prompt": "1a+8b*7", "answer": "3"}) for name in "xyz"]
    (tmp_path / "q.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = run(
        "sweep", grid, "-o", tmp_path / "r.jsonl", "--questions", tmp_path / "q.jsonl", "--samples", 1,
        "--lambdas", "0", "--temperature", 0, "--batch-size", 1, "--device", "cpu",
        "--grader", f"{tmp_path / 'own.py'}:f", "--grader-timeout", 0.5,
    )  # fmt: skip
    assert result.exit_code == 3
    assert f"own.py:f, question 'y': {words}" in result.stderr
    assert "earlier answers are kept" in result.stderr
    assert [row.question for row in read_rollouts(tmp_path / "r.jsonl")] == ["x"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--lambdas", "0.3"), 2, "λ = 0.30 is not in this grid"),
        (("--questions", "no-such.jsonl"), 3, "no-such.jsonl"),
        (("--output", "no/such/folder/r.jsonl"), 3, "does not exist"),
        (("--grader", "nothing"), 2, "does not name a grader"),
        (("--seed", "-1"), 2, "-1 is not in the range"),
        (("--seed", str(2**63)), 2, "is not in the range"),
        (("--lambdas", ""), 2, "λ = '' is not a number"),
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
    assert "30 questions,\n120 answers at" in (tmp_path / "p.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("output", "words"), [("no/p.html", "does not exist"), (".", "it is a folder")])
def test_a_page_that_cannot_be_written_is_refused_before_the_work(
    rollouts: Path, tmp_path: Path, output: str, words: str
) -> None:
    result = run("report", "--rollouts", rollouts, "-o", tmp_path / output)
    assert result.exit_code == 3
    assert words in result.stderr


def test_a_seed_below_zero_is_refused_in_a_report_and_in_a_recipe(rollouts: Path, tmp_path: Path) -> None:
    result = run("report", "--rollouts", rollouts, "-o", tmp_path / "p.html", "--seed", "-1")
    assert (result.exit_code, "-1 is not in the range" in result.stderr) == (2, True)
    with pytest.raises(RecipeError, match="seed: Expected `int` >= 0"):
        SweepRecipe(seed=-1)


def test_a_report_without_rollouts_is_refused(tmp_path: Path) -> None:
    result = run("report", "--rollouts", tmp_path / "no.jsonl", "-o", tmp_path / "p.html")
    assert result.exit_code == 3
    assert "no.jsonl: No such file" in result.stderr
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize("taken", ["r.jsonl", "r.jsonl.settings.json", "folder/../r.jsonl"])
def test_a_page_is_never_written_over_the_rollouts(rollouts: Path, tmp_path: Path, taken: str) -> None:
    (tmp_path / "folder").mkdir()
    for file in (rollouts, sidecar_path(rollouts)):
        shutil.copy(file, tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.glob("r.jsonl*")}
    result = run("report", "--rollouts", tmp_path / "r.jsonl", "-o", tmp_path / taken)
    assert result.exit_code == 2
    assert "would overwrite the rollouts" in result.stderr
    assert {file: file.read_bytes() for file in tmp_path.glob("r.jsonl*")} == before


@pytest.mark.parametrize("below", ["", "figures"])
def test_figures_that_have_no_folder_to_be_in_are_refused_before_the_page(
    rollouts: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    page = tmp_path / "p.html"
    result = run("report", "--rollouts", rollouts, "-o", page, "--figures", tmp_path / "file" / below)
    assert result.exit_code == 3
    assert f"cannot create the folder {tmp_path / 'file' / below}: " in result.stderr
    assert not page.exists()


def test_a_report_of_a_lambda_that_was_not_swept_is_refused(rollouts: Path, tmp_path: Path) -> None:
    result = run("report", "--rollouts", rollouts, "-o", tmp_path / "p.html", "--lambdas", "0,1/3")
    assert result.exit_code == 2
    assert "λ = 1of3 is not in these rollouts" in result.stderr
    assert "available: 0.00, 0.50, 1.00" in result.stderr


def test_a_report_takes_the_loss_and_the_seed_that_it_is_given(rollouts: Path, tmp_path: Path) -> None:
    command = ("report", "--rollouts", rollouts, "-o", tmp_path / "p.html", "--json")
    strict, loose, other = (
        json.loads(run(*command, *more).stdout) for more in ((), ("--loss", 1), ("--loss", 1, "--seed", 5))
    )
    assert len(strict["overall"]["comparison"]["serving"]["lambdas"]) > 1
    assert len(loose["overall"]["comparison"]["serving"]["lambdas"]) == 1
    assert (loose["seed"], other["seed"]) == (0, 5)
    assert loose["overall"]["comparison"]["neighbours"] != other["overall"]["comparison"]["neighbours"]


def test_a_page_of_a_grid_says_of_which_weights(grid: Path, rollouts: Path, tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    assert run("report", grid, "--rollouts", rollouts, "-o", page).exit_code == 0
    digest = json.loads((grid / "grid.json").read_text(encoding="utf-8"))["inventory"]["digest"]
    assert digest in page.read_text(encoding="utf-8")
    assert run("report", "--rollouts", rollouts, "-o", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert digest not in text
    assert "<title>r</title>" in text


def test_a_row_says_whether_its_lambda_is_worth_serving_and_the_command_can_be_pasted(
    rollouts: Path, grid: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my [red] :warning: sweeps"
    folder.mkdir()
    for file in (rollouts, sidecar_path(rollouts)):
        shutil.copy(file, folder)
    path = folder / "r.jsonl"
    result = run("sweep", grid, "-o", path, "--limit", 30, "--samples", 2, "--device", "cpu")
    assert f"dami-merge report --rollouts '{path}'" in result.stdout
    value = json.loads(run("report", "--rollouts", path, "-o", tmp_path / "p.html", "--json").stdout)
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines()[1:4]}
    served = value["overall"]["comparison"]["serving"]["lambdas"]
    standings = value["overall"]["comparison"]["pareto"]["standings"]
    for row in value["overall"]["rows"]:
        name = f"{float(Fraction(row['lambda'])):.2f}"
        low, high = row["accuracy_interval"]["low"], row["accuracy_interval"]["high"]
        assert lines[name][1:3] == [f"{row['accuracy']:.1%}", f"{100 * low:.1f}–{high:.1%}"]
        assert lines[name][3:7] == [
            f"{row['tokens']:,.1f}",
            f"{row['median_tokens']:,.1f}",
            f"{row['closed']:.1%}",
            f"{row['cut']:.1%}",
        ]
        (share,) = (each["frontier_share"] for each in standings if each["lambda"] == row["lambda"])
        assert lines[name][8:] == [f"{share:.0%}", *(["serve"] if row["lambda"] in served else [])]


@contextmanager
def _begun(path: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """A sweep of the bundled pair in a session of its own, as a terminal has it, once it has answers."""
    command = [sys.executable, "-m", "dami_merge", "sweep", "--live", "bundled:tiny/instruct",
               "bundled:tiny/thinking", "-o", str(path), "--device", "cpu", *options]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (path.exists() and path.read_bytes().count(b"\n") >= 20):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no answer after a minute"
            time.sleep(0.01)
        yield process


@pytest.mark.slow
def test_ctrl_c_keeps_whole_lines_and_the_same_command_goes_on(tmp_path: Path) -> None:
    options = ("--lambdas", "0,1/2,1", "--limit", "60", "--samples", "2", "--batch-size", "4")
    path = tmp_path / "r.jsonl"
    with _begun(path, *options) as process:
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    kept = read_rollouts(path)
    assert path.read_bytes().endswith(b"\n")
    assert 20 <= len(kept) < 360
    assert f"every answer is kept in {path}; run the same command again to resume" in stderr
    pair = ("--live", "bundled:tiny/instruct", "bundled:tiny/thinking")
    result = run("sweep", *pair, "-o", path, "--device", "cpu", *options)
    assert result.exit_code == 0
    assert f"note: resuming {path}, which holds {len(kept)} answers" in result.stderr
    rows = read_rollouts(path)
    assert rows[: len(kept)] == kept
    assert len(rows) == len({(row.lam, row.question, row.sample) for row in rows}) == 360
    whole = tmp_path / "whole.jsonl"
    assert run("sweep", *pair, "-o", whole, "--device", "cpu", *options).exit_code == 0
    assert _answers(path) == _answers(whole)


@pytest.mark.slow
def test_a_terminal_sees_how_far_a_sweep_is_and_a_pipe_a_line_for_each_lambda(tmp_path: Path) -> None:
    options = ("--lambdas", "0,1/3", "--limit", "20", "--samples", "2")
    command = [sys.executable, "-m", "dami_merge", "sweep", "--live", "bundled:tiny/instruct",
               "bundled:tiny/thinking", "--device", "cpu", *options, "-o"]  # fmt: skip
    quiet = subprocess.run([*command, str(tmp_path / "q.jsonl")], capture_output=True, text=True, check=True)
    line = r"λ {}  accuracy [\d.]+%  [\d,]+ tokens/s  40 answers in [\d.]+ s"
    lines = quiet.stderr.splitlines()
    assert [
        bool(re.fullmatch(line.format(lam), said)) for lam, said in zip(("0.00", "1of3"), lines, strict=True)
    ] == [
        True,
        True,
    ]
    loud = tmp_path / "loud.jsonl"  # begun, so that what is there already counts in the bar
    loud.write_bytes(b"".join((tmp_path / "q.jsonl").read_bytes().splitlines(keepends=True)[:30]))
    shutil.copy(sidecar_path(tmp_path / "q.jsonl"), sidecar_path(loud))
    leader, follower = pty.openpty()
    subprocess.run(
        [*command, str(loud)],
        stdout=subprocess.DEVNULL,
        stderr=follower,
        check=True,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(follower)
    shown = shown_on(leader)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(line.replace("40 answers", "10 answers").format("0.00"), text), text
    assert re.search(line.format("1of3"), text), text
    assert re.search(r"λ 1of3  accuracy [\d.]+%  [\d,]+ tokens/s +━+╸?━* +[4-8]\d/80 ", text), text
    assert "80/80" in text


def test_a_recipe_says_what_to_sweep_and_flags_go_over_it(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "questions: bundled:validation\nlimit: 3\nsamples: 2\nlambdas: [1/2]\ntemperature: 0.9\nseed: 5\n",
        encoding="utf-8",
    )
    path = tmp_path / "r.jsonl"
    result = run(
        "sweep", grid, "-o", path, "--recipe", tmp_path / "sweep.yaml", "--temperature", 0, "--device", "cpu"
    )
    assert result.exit_code == 0, result.stderr
    settings = read_sidecar(path).settings
    assert (settings.temperature, settings.seed, settings.max_tokens) == (0, 5, 96)
    assert {(row.fraction, row.sample) for row in read_rollouts(path)} == {("1/2", 0), ("1/2", 1)}
    assert len(read_sidecar(path).questions) == 3
    assert all(name.startswith("validation") for name in read_sidecar(path).questions)


def test_a_report_refuses_a_grid_that_was_not_swept(
    rollouts: Path, pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    assert run("grid", *pair_folders, "-o", tmp_path / "other", "--lambdas", "0,1").exit_code == 0
    result = run("report", tmp_path / "other", "--rollouts", rollouts, "-o", tmp_path / "p.html")
    assert result.exit_code == 2
    assert f"come from other weights than those of {tmp_path / 'other'}" in result.stderr
    assert not (tmp_path / "p.html").exists()


def test_a_report_takes_the_same_weights_at_other_lambdas(rollouts: Path, tmp_path: Path) -> None:
    assert run("grid", "-o", tmp_path / "more", "--lambdas", "0,1/4,1").exit_code == 0
    result = run("report", tmp_path / "more", "--rollouts", rollouts, "-o", tmp_path / "p.html")
    assert result.exit_code == 0, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("lambdas", ["0,1/2,1", "0,1/4,1/2,3/4,1"])
def test_the_bundled_pair_is_called_a_dial(tmp_path: Path, lambdas: str) -> None:
    pair = (
        "--live",
        "bundled:tiny/instruct",
        "bundled:tiny/thinking",
        "--lambdas",
        lambdas,
        "--device",
        "cpu",
    )
    result = run("sweep", *pair, "-o", tmp_path / "r.jsonl", "--limit", 210, "--samples", 2, "--json")
    assert result.exit_code == 0, result.stderr
    conclusion = json.loads(result.stdout)["overall"]["comparison"]["conclusion"]
    assert conclusion["kind"] == "dial"
    assert "1/2" in conclusion["better"]
    assert conclusion["confidence"] >= 0.975
    assert {change["form"] for change in conclusion["changes"]} <= {"gradual", "coarse"}
