"""What commands print, as a pipe and as a terminal of 80 columns have it."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge.cli.output import console
from tests.cli.test_grid import run


def test_a_pipe_gets_no_blanks_at_the_end_of_a_line_and_keeps_those_inside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = console()
    out.print("a  b   \n   c\t")
    out.print("d")
    assert capsys.readouterr().out == "a  b\n   c\nd\n"


def test_the_tables_of_a_grid_have_no_padding_in_a_pipe(tmp_path: Path) -> None:
    for options in (("--dry-run",), ()):
        result = run("grid", "-o", tmp_path / "grid", "--lambdas", "0,1", *options)
        assert result.exit_code == 0, result.stderr
        assert [line for line in result.stdout.splitlines() if line != line.rstrip()] == []


def test_a_narrow_terminal_has_whole_names_of_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dami_merge import Recipe, build_grid, plan_grid
    from dami_merge.cli.grid_view import show_built

    path = tmp_path / ("a-folder-with-a-long-name-" * 4) / "grid"
    path.parent.mkdir()
    recipe = Recipe(
        instruct="bundled:tiny/instruct", thinking="bundled:tiny/thinking", lambdas=(Fraction(0), Fraction(1))
    )
    built = build_grid(plan_grid(recipe, path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_built(built)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert said[0] == f"in {path}:"
    assert [line.split()[:2] for line in said[2:4]] == [["0.00", "lambda-0.00"], ["1.00", "lambda-1.00"]]
    assert said[-1] == f"check every byte with: dami-merge verify {path}"
    monkeypatch.setenv("COLUMNS", "300")
    show_built(built)
    wide = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert wide[1].split()[:2] == ["0.00", str(path / "lambda-0.00")]
