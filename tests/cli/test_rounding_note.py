"""`dami-merge grid` says before it writes that rounding empties a grid."""

from pathlib import Path

from tests.cli.test_grid import run
from tests.eaten import eaten_pair


def test_a_grid_that_rounding_empties_says_so_and_one_of_float32_does_not(tmp_path: Path) -> None:
    pair = eaten_pair(tmp_path / "pair")
    result = run("grid", *pair, "-o", tmp_path / "grid", "--lambdas", "0,0.1,0.2,1")
    assert result.exit_code == 0
    (note,) = (line for line in result.stderr.splitlines() if "rounding" in line)
    assert note.startswith("note: rounding to bfloat16 drowns the difference at every λ between the ends")
    assert note.endswith("take float32 sources, or write float32 with --dtype float32 and serve it so")
    exact = run("grid", *pair, "-o", tmp_path / "exact", "--lambdas", "0,0.1,1", "--dtype", "float32")
    assert exact.exit_code == 0
    assert "rounding" not in exact.stderr


def test_rounding_to_a_narrower_dtype_than_the_sources_is_judged(tmp_path: Path) -> None:
    pair = eaten_pair(tmp_path / "pair", share=1.0)
    result = run("grid", *pair, "-o", tmp_path / "grid", "--lambdas", "0,0.1,1", "--dtype", "bfloat16")
    assert result.exit_code == 0
    assert "rounding" not in result.stderr, "the whole difference of the bundled pair survives"
