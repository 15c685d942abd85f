"""A sweep as a library user has it: from a grid or a pair to a report, without a command."""

import sys
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge import InProcess, Server, SweepRecipe, SweptGrid, SweptPair, read_rollouts, sweep
from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_model
from dami_merge.errors import DamiMergeError, GridUnreadable, LambdaError, UsageError
from dami_merge.evaluation.rollouts_file import read_sidecar
from dami_merge.sampling import SamplingSettings
from tests.openai_server import running_server
from tests.tiny import LAMBDAS

CPU = InProcess(device="cpu")
FEW = SweepRecipe(limit=6, samples=2, temperature=0)


def test_a_grid_and_its_pair_give_the_same_answers_and_a_report_of_what_the_file_holds(
    tiny_grid: Path, tmp_path: Path
) -> None:
    report = sweep(tiny_grid, tmp_path / "grid.jsonl", FEW, engine=CPU)
    assert report.lambdas == LAMBDAS
    assert [row.samples for row in report.overall.rows] == [12] * 3
    pair = SweptPair.open(BUNDLED_INSTRUCT, BUNDLED_THINKING)
    recipe = SweepRecipe(limit=6, samples=2, temperature=0, lambdas=[0, "2/5", 1])
    sweep(pair, str(tmp_path / "pair.jsonl"), recipe, engine=CPU)
    found, other = (
        {(row.question, row.fraction, row.sample): row.text for row in read_rollouts(tmp_path / name)}
        for name in ("grid.jsonl", "pair.jsonl")
    )
    assert len(found) == 36
    assert found == other


def test_a_pair_of_swapped_sides_is_warned_of_before_the_work(tmp_path: Path) -> None:
    notes: list[str] = []
    few = SweepRecipe(questions="bundled", limit=1, samples=1, temperature=0, max_tokens=8, lambdas=[0])
    for sides in ((BUNDLED_THINKING, BUNDLED_INSTRUCT), (BUNDLED_INSTRUCT, BUNDLED_THINKING)):
        path = tmp_path / f"{len(notes)}.jsonl"
        sweep(SweptPair.open(*sides), path, few, engine=CPU, on_note=notes.append)
    (warning,) = [note for note in notes if "swapped" in note]
    assert warning == notes[0]
    assert warning.startswith(
        "warning: the sides look swapped: dami-merge/tiny-thinking is given as Instruct"
    )


def test_notes_come_before_the_work_and_a_second_call_resumes(tiny_grid: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    events: list[str] = []

    def run() -> None:
        sweep(
            tiny_grid,
            path,
            FEW,
            engine=CPU,
            on_note=events.append,
            on_progress=lambda state: events.append(f"{state.lam}: {state.done}"),
        )

    run()
    assert not any("resuming" in event for event in events)
    content = path.read_bytes()
    events.clear()
    run()
    assert path.read_bytes() == content
    assert events[-4] == f"resuming {path}, which holds 36 answers"
    assert events[-3:] == ["1: 12", "2/5: 12", "0: 12"]


def test_what_the_grid_recorded_holds_until_the_recipe_states_another(tiny_grid: Path) -> None:
    grid = SweptGrid.open(tiny_grid)
    assert grid.sampling == SamplingSettings(temperature=0.6, max_tokens=96)
    assert grid.questions == "bundled"
    assert SweptPair.open(BUNDLED_INSTRUCT, BUNDLED_THINKING).sampling == grid.sampling


def test_a_pair_of_ones_own_has_no_questions_and_any_lambda(tiny_grid: Path, tmp_path: Path) -> None:
    pair = SweptPair.open(str(tiny_grid / "lambda-0.00"), str(bundled_model("tiny/thinking")))
    assert pair.questions is None
    assert pair.sampling == SamplingSettings()
    assert pair.choose(None) == tuple(Fraction(k, 10) for k in range(11))
    assert pair.choose((Fraction(1, 7),)) == (Fraction(1, 7),)
    with pytest.raises(UsageError, match="no questions were given"):
        sweep(pair, tmp_path / "r.jsonl", engine=CPU)
    assert list(tmp_path.iterdir()) == []


def test_a_lambda_that_the_grid_lacks_and_a_folder_without_a_grid_are_refused(
    tiny_grid: Path, tmp_path: Path
) -> None:
    with pytest.raises(LambdaError, match=r"λ = 0\.50 is not in this grid") as refused:
        sweep(tiny_grid, tmp_path / "r.jsonl", SweepRecipe(lambdas=["1/2"]), engine=CPU)
    assert "available: 0.00, 0.40, 1.00" in refused.value.hint
    with pytest.raises(GridUnreadable, match=r"grid\.json"):
        sweep(tmp_path, tmp_path / "r.jsonl", engine=CPU)


def test_a_server_is_asked_for_every_lambda_by_its_served_name(tiny_grid: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with running_server() as server:
        server.models = [f"tiny-lambda-{lam}" for lam in ("0.00", "0.40", "1.00")]
        report = sweep(tiny_grid, path, SweepRecipe(limit=3, samples=1), engine=Server(server.url))
    assert [body["model"] for body in server.bodies] == [
        name for name in ("tiny-lambda-0.00", "tiny-lambda-0.40", "tiny-lambda-1.00") for _ in range(3)
    ]
    assert report.lambdas == LAMBDAS
    assert read_sidecar(path).settings.backend["backend"] == "openai"


def test_grading_without_its_package_is_refused_before_a_model_runs(
    tiny_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"prompt": "1 + 1?", "answer": "2"}\n', encoding="utf-8")
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(DamiMergeError, match="grading mathematics needs math_verify, which is not installed"):
        sweep(tiny_grid, tmp_path / "r.jsonl", SweepRecipe(questions=str(file)))
    assert list(tmp_path.iterdir()) == [file]


def test_more_answers_than_fit_in_memory_are_refused_before_anything_is_written(
    tiny_grid: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="11 questions × 1 λ × 1,000,000 samples are more than 10,000,000"):
        sweep(tiny_grid, tmp_path / "r.jsonl", SweepRecipe(limit=11, samples=1_000_000, lambdas=[1]))
    assert list(tmp_path.iterdir()) == []
