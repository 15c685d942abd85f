"""What check-lmc prints and gives as JSON of reports that are made for the purpose."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge.cli.lmc_value import lmc_value
from dami_merge.cli.lmc_view import LmcTables, show_lmc
from dami_merge.connectivity.check import Check
from dami_merge.connectivity.path import PathPoint, PathReport, PathStep
from dami_merge.connectivity.report import WeightsReport
from dami_merge.errors import Problem
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.pairs import weights_of

LAMBDAS = Fraction(0), Fraction(1, 3), Fraction(1)
PATH = PathReport(
    texts=3,
    tokens=30,
    points=tuple(PathPoint(lam, loss) for lam, loss in zip(LAMBDAS, (2.0, 2.01, 1.0), strict=True)),
    steps=(
        PathStep(LAMBDAS[0], LAMBDAS[1], (0.99, 0.97), (0.98, 0.96)),
        PathStep(LAMBDAS[1], LAMBDAS[2], (0.95, 0.99), (0.94, 0.98)),
    ),
    barrier=0.51,
    barrier_above_line=0.01,
    barrier_lam=LAMBDAS[1],
)


@pytest.fixture
def report(tmp_path: Path) -> WeightsReport:
    tensors = random_tensors(seed=0)
    sides = (write_checkpoint(tmp_path / "a", tensors), write_checkpoint(tmp_path / "b", near(tensors)))
    return weights_of(*map(str, sides))


def _shown(
    capsys: pytest.CaptureFixture[str], report: WeightsReport, path: PathReport | None = None
) -> list[str]:
    show_lmc(Check(report, path), LmcTables())
    return capsys.readouterr().out.splitlines()


def test_a_point_of_the_path_shows_the_layer_that_moved_most(
    capsys: pytest.CaptureFixture[str], report: WeightsReport
) -> None:
    lines = [line.split() for line in _shown(capsys, report, PATH)]
    assert ["0.00", "2.0000"] in lines
    assert ["1of3", "2.0100", "0.970000", "0.960000"] in lines
    assert ["1.00", "1.0000", "0.950000", "0.940000"] in lines


def test_a_row_has_its_numbers_in_the_order_of_the_heading(
    capsys: pytest.CaptureFixture[str], report: WeightsReport
) -> None:
    lines = _shown(capsys, report)
    assert lines[0].split("  ")[0] == "layer"
    heading = " ".join(lines[0].split())
    assert heading == "layer cosine distance norm ratio same sign identical vectors' cosine"
    matrices, vectors = report.overall.matrices, report.overall.vectors
    assert matrices is not None
    assert vectors is not None
    (row,) = (line.split()[1:] for line in lines if line.startswith("all "))
    assert [float(cell.rstrip("%")) for cell in row] == pytest.approx(
        [matrices.cosine, matrices.relative_distance, matrices.norm_ratio, 100 * matrices.sign_agreement,
         100 * matrices.identical, vectors.cosine],
        rel=1e-3, abs=0.051,
    )  # fmt: skip
    assert abs(matrices.relative_distance - matrices.norm_ratio) > 0.5


def test_notes_and_equal_tensors_are_told(capsys: pytest.CaptureFixture[str], report: WeightsReport) -> None:
    lines = _shown(capsys, replace(report, notes=("[a] harmless :warning:",), identical_tensors=2))
    assert "note: [a] harmless :warning:" in lines
    assert f"2 of {len(report.tensors)} tensors are identical in both models" in lines
    assert not any("identical in both" in line for line in _shown(capsys, report))


def test_what_grid_would_refuse_comes_with_its_way_out_and_many_are_counted(
    capsys: pytest.CaptureFixture[str], report: WeightsReport
) -> None:
    refusals = tuple(Problem("dtype", f"fact {n}", "choose it with --dtype" if n else "") for n in range(7))
    lines = [
        line
        for line in _shown(capsys, replace(report, refusals=refusals))
        if "fact" in line or "more (" in line
    ]
    assert lines[:2] == [
        "`dami-merge grid` would refuse: fact 0",
        "`dami-merge grid` would refuse: fact 1 (choose it with --dtype)",
    ]
    assert lines[5:] == ["… and 2 more (--json lists all 7)"]


def test_the_json_of_a_path_has_every_number_of_it(report: WeightsReport) -> None:
    assert (PATH.same_basin, PATH.smooth, PATH.monotone) == (True, True, False)
    assert lmc_value(Check(report, PATH))["path"] == {
        "texts": 3,
        "tokens": 30,
        "points": [
            {"lambda": "0/1", "loss": 2.0},
            {"lambda": "1/3", "loss": 2.01},
            {"lambda": "1/1", "loss": 1.0},
        ],
        "steps": [
            {"from": "0/1", "to": "1/3", "cosine": [0.99, 0.97], "cka": [0.98, 0.96]},
            {"from": "1/3", "to": "1/1", "cosine": [0.95, 0.99], "cka": [0.94, 0.98]},
        ],
        "barrier": 0.51,
        "barrier_above_line": 0.01,
        "barrier_lambda": "1/3",
        "abruptness": PATH.abruptness,
        "same_basin": True,
        "smooth": True,
        "monotone": False,
        "dial": None,
    }
