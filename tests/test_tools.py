"""The tools still run, on the smallest jobs that can fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    quick = ("--minutes", 0.05, "--samples", 1, "--questions", 10)
    tool("train_tiny_pair.py", *quick, "--output", tmp_path / "tiny")
    table = json.loads((tmp_path / "tiny" / "lambda_table.json").read_text(encoding="utf-8"))
    assert [row["lambda"] for row in table["rows"]] == [k / 10 for k in range(11)]
