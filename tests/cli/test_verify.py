"""`dami-merge verify` as it is typed."""

import json
from pathlib import Path

import pytest

from tests.cli.test_grid import run


@pytest.fixture
def grid(pair_folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """A grid of three checkpoints."""
    assert run("grid", *pair_folders, "-o", tmp_path / "grid", "--steps", 2).exit_code == 0
    return tmp_path / "grid"


def test_a_whole_grid_exits_with_zero(grid: Path) -> None:
    result = run("verify", grid)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{grid} is intact: 18 files, ")


def test_damage_is_named_and_exits_with_one(grid: Path) -> None:
    shard = grid / "lambda-0.50" / "model.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    (grid / "lambda-1.00" / "config.json").unlink()
    (grid / "lambda-1.00" / "notes.txt").write_text("mine")
    result = run("verify", grid)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "missing: lambda-1.00/config.json",
        "changed: lambda-0.50/model.safetensors",
        "extra: lambda-1.00/notes.txt",
    ]
    assert result.stderr.splitlines()[1:] == [
        "hint: move the extra files out of the grid",
        "hint: delete the changed files, then rerun the `dami-merge grid` command that built this grid"
        " to repair it",
    ]
    value = json.loads(run("verify", grid, "--json").stdout)
    assert value["whole"] is False
    assert value["changed"] == ["lambda-0.50/model.safetensors"]


def test_a_grid_with_nothing_but_an_extra_file_needs_no_repair(grid: Path) -> None:
    (grid / "notes.txt").write_text("mine")
    result = run("verify", grid)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1:] == ["hint: move the extra files out of the grid"]


def test_an_unfinished_grid_is_not_whole(grid: Path) -> None:
    (grid / "grid.json").unlink()
    result = run("verify", grid)
    assert result.exit_code == 1
    assert "missing: grid.json" in result.stdout


def test_a_folder_without_a_grid_exits_with_three(tmp_path: Path) -> None:
    result = run("verify", tmp_path)
    assert result.exit_code == 3
    assert "grid.json: No such file or directory" in result.stderr
    value = json.loads(run("verify", tmp_path, "--json").stdout)
    assert value["error"]["kind"] == "GridUnreadable"
