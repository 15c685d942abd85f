"""A report as a library user has it, and the files that it writes."""

import csv
import io
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge import read_rollouts, report_sweep
from dami_merge.errors import InputRefused, LambdaError, UsageError
from dami_merge.evaluation.generation import all_requests
from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.rollouts_file import open_rollouts, read_sidecar, settings_of, sidecar_path
from dami_merge.evaluation.sweep import fill_rollouts
from dami_merge.sampling import SamplingSettings
from dami_merge.use_cases.report_files import ReportFiles
from tests.evaluation.arithmetic import Calculator, sums

LAMBDAS = (Fraction(0), Fraction(1, 2), Fraction(1))


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("swept") / "r.jsonl"
    sampling, questions = SamplingSettings(max_tokens=28), sums(12)
    with Grader() as grader, open_rollouts(path, settings_of({}, "g", sampling), questions) as file:
        fill_rollouts(all_requests(questions, LAMBDAS, 2), Calculator(), sampling, grader, file)
    return path


def test_without_files_it_is_the_summary_and_writes_nothing(rollouts: Path) -> None:
    before = sorted(rollouts.parent.iterdir())
    assert report_sweep(rollouts).lambdas == LAMBDAS
    assert report_sweep(str(rollouts), lambdas=LAMBDAS[1:]).lambdas == LAMBDAS[1:]
    assert sorted(rollouts.parent.iterdir()) == before


def test_every_file_is_written_and_reported_and_csv_has_the_chosen_rows(
    rollouts: Path, tmp_path: Path
) -> None:
    files = ReportFiles(tmp_path / "p.html", tmp_path / "new" / "figures", tmp_path / "r.csv")
    written: list[tuple[str, Path]] = []
    report_sweep(
        rollouts, files=files, lambdas=LAMBDAS[:2], on_file=lambda what, path: written.append((what, path))
    )
    assert written == [("page", files.page), ("figures", files.figures), ("csv", files.csv)]
    assert files.page is not None
    assert files.page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert files.figures is not None
    assert {path.suffix for path in files.figures.iterdir()} == {".svg", ".png"}
    assert files.csv is not None
    rows = list(csv.DictReader(io.StringIO(files.csv.read_text(encoding="utf-8"), newline="")))
    assert len(rows) == 12 * 2 * 2
    assert {row["fraction"] for row in rows} == {"0/1", "1/2"}
    kept = [row for row in read_rollouts(rollouts) if row.lam != 1]
    assert [row["text"] for row in rows] == [row.text for row in kept]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.settings.json"])
@pytest.mark.parametrize("field", ["page", "csv"])
def test_the_rollouts_are_never_overwritten(rollouts: Path, name: str, field: str) -> None:
    before = rollouts.read_bytes()
    with pytest.raises(UsageError, match="would overwrite the rollouts"):
        report_sweep(rollouts, files=ReportFiles(**{field: rollouts.with_name(name)}))
    assert rollouts.read_bytes() == before


def test_answers_of_unknown_settings_are_refused_and_named(rollouts: Path, tmp_path: Path) -> None:
    """As after pasting the lines of another sweep into the file."""
    mixed = tmp_path / "r.jsonl"
    lines = rollouts.read_bytes().splitlines(keepends=True)
    known = read_sidecar(rollouts).settings.digest().encode()
    assert all(known in line for line in lines)
    foreign = [line.replace(known, b"f" * 16) for line in lines[5:8]]
    mixed.write_bytes(b"".join([*lines[:5], *foreign, *lines[8:]]))
    sidecar_path(mixed).write_bytes(sidecar_path(rollouts).read_bytes())
    files = ReportFiles(page=tmp_path / "p.html", csv=tmp_path / "r.csv")
    with pytest.raises(
        InputRefused,
        match=r"3 of 72 answers, the first on line 6, have the settings 'ffffffffffffffff'; r\.jsonl",
    ) as refused:
        report_sweep(mixed, files=files)
    assert "remove these lines" in refused.value.problems[0].hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.jsonl", "r.jsonl.settings.json"]


def test_what_cannot_be_written_or_read_is_refused_first(rollouts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot create the folder"):
        report_sweep(rollouts, files=ReportFiles(figures=tmp_path / "file" / "x"))
    with pytest.raises(UsageError, match="are both"):
        report_sweep(rollouts, files=ReportFiles(page=tmp_path / "x", csv=tmp_path / "x"))
    with pytest.raises(LambdaError, match=r"λ = 0\.30 is not in these rollouts"):
        report_sweep(rollouts, lambdas=[Fraction(3, 10)])
    with pytest.raises(InputRefused, match=r"none\.jsonl"):
        report_sweep(tmp_path / "none.jsonl")
