"""What the operating system refuses ends with exit code 3, the file and a way out; never with a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.checkpoints import near, write_checkpoint
from tests.cli.test_grid import run
from tests.cli.unprivileged import outcomes
from tests.grid.grids import tree

THREE = ("--lambdas", "0,1/2,1")


@pytest.fixture
def grid(pair_folders: tuple[Path, Path], tmp_path: Path) -> Path:
    assert run("grid", *pair_folders, "-o", tmp_path / "grid", *THREE).exit_code == 0
    return tmp_path / "grid"


def test_a_source_file_that_may_not_be_read_is_named(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    instruct = pair_folders[0]
    names = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "chat_template.jinja",
        "",
    ]
    jobs = [
        ({instruct / name: 0}, [command, *pair_folders, *extra])
        for name in names
        for command, extra in (("grid", ["-o", tmp_path / "grid"]), ("check-lmc", []))
    ]
    for (closed, _), (code, _, stderr) in zip(jobs, outcomes(jobs), strict=True):
        (path,) = closed
        assert code == 3, stderr
        assert "Permission denied" in stderr
        assert (path.name if path != instruct else str(instruct)) in stderr
    assert not (tmp_path / "grid").exists()


def test_a_file_of_a_grid_that_may_not_be_read_or_written_is_named(
    grid: Path, pair_folders: tuple[Path, Path]
) -> None:
    again, whole = ["grid", *pair_folders, "-o", grid, *THREE], tree(grid)
    member, state = grid / "lambda-0.50", grid / ".dami-merge"
    paths = [
        member / "model.safetensors", member, grid / "grid.json", state, state / "identity.json",
        state / "receipts" / "model.safetensors.json", grid,
    ]  # fmt: skip
    jobs = [({path: 0}, arguments) for path in paths for arguments in (again, ["verify", grid])]
    for (closed, arguments), (code, _, stderr) in zip(jobs, outcomes(jobs), strict=True):
        (path,) = closed
        unneeded = {grid / "grid.json"} if arguments[0] == "grid" else {state, *state.rglob("*")}
        assert code == (0 if path in unneeded else 3), (path, stderr)
        assert path in unneeded or (path.name in stderr and "hint: " in stderr)
    assert tree(grid) == whole


def test_a_place_that_may_not_be_written_or_searched_is_named_by_the_run_and_the_plan(
    grid: Path, pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    more = ("--lambdas", "0,1/4,1/2,1")
    jobs = [
        ({closed: mode}, ["grid", *pair_folders, "-o", output, *lambdas, *extra])
        for closed, mode, output, lambdas in (
            (place, 0o555, place / "new", THREE),
            (place, 0, place / "new" / "er", THREE),
            (grid, 0o555, grid, more),
        )
        for extra in ([], ["--dry-run"])
    ]
    for (closed, _), (code, _, stderr) in zip(jobs, outcomes(jobs), strict=True):
        (path,) = closed
        assert code == 3
        assert path.name in stderr
        assert "choose another" in stderr
    assert list(place.iterdir()) == []


def test_a_whole_grid_whose_files_are_all_read_only_is_complete(
    grid: Path, pair_folders: tuple[Path, Path]
) -> None:
    again = ["grid", *pair_folders, "-o", grid, *THREE]
    closed = {path: 0o555 if path.is_dir() else 0o444 for path in [*grid.rglob("*"), grid]}
    jobs = [(closed, again), (closed, [*again, "--dry-run"]), (closed, [*again, "--fresh"])]
    (code, stdout, _), dry, fresh = outcomes(jobs)
    assert (code, dry[0], fresh[0]) == (0, 0, 3)
    assert "already complete: no weights were written" in stdout
    assert "Permission denied" in fresh[2]


def many_shards(tmp_path: Path) -> tuple[Path, Path]:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"w{number}.weight": torch.randn(8, 16, generator=generator).bfloat16() for number in range(47)
    }
    shards = [[name] for name in tensors]
    return (
        write_checkpoint(tmp_path / "i", tensors, shards=shards),
        write_checkpoint(tmp_path / "t", near(tensors), shards=shards),
    )


def limited(limit: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command under a limit of the shell; it counts no coverage, which would write files of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = ["bash", "-c", f'{limit}; exec "$0" -m dami_merge "$@"', sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_more_shards_than_open_files_are_no_trouble(tmp_path: Path) -> None:
    """A process imports torch with some forty files open at a time."""
    sides = many_shards(tmp_path)
    built = limited("ulimit -n 64", "grid", *sides, "-o", tmp_path / "grid", *THREE)
    assert built.returncode == 0, built.stderr
    checked = limited("ulimit -n 64", "check-lmc", *sides, "--json")
    assert checked.returncode == 0, checked.stderr
    assert run("verify", tmp_path / "grid").exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "lambdas", "fact", "hint"),
    [
        ("ulimit -n 64", ["--steps", "100"], "Too many open files", "`ulimit -n 4096`"),
        ("ulimit -f 1", THREE, "File too large", "`ulimit -f unlimited`"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_told_with_the_way_to_raise_it(
    limit: str, lambdas: list[str], fact: str, hint: str, pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    done = limited(limit, "grid", *pair_folders, "-o", tmp_path / "grid", *lambdas)
    assert done.returncode == 3
    assert fact in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_a_place_that_cannot_be_is_refused_in_words(
    extra: list[str], pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for output, fact in (
        (tmp_path / "loop", "loop"),
        (tmp_path / "loop" / "grid", "loop"),
        (tmp_path / ("y" * 300), "File name too long"),
        (tmp_path / "file" / "grid", "file is a file, not a folder"),
    ):
        (tmp_path / "file").write_text("x")
        result = run("grid", *pair_folders, "-o", output, *extra)
        assert (result.exit_code, result.exception and type(result.exception)) == (3, SystemExit)
        assert fact in result.stderr
        assert "choose " in result.stderr


def test_names_that_are_not_utf8_are_refused_before_anything_is_written(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """grid.json and the model cards are UTF-8."""
    odd = Path(os.fsdecode(os.fsencode(pair_folders[0]) + b"-\xff"))
    pair_folders[0].rename(odd)
    result = run("grid", odd, pair_folders[1], "-o", tmp_path / "grid")
    assert result.exit_code == 3
    assert "is not UTF-8 (rename it: grid.json could not hold it)" in result.stderr
    odd.rename(pair_folders[0])
    Path(os.fsdecode(os.fsencode(pair_folders[0]) + b"/\xff.json")).write_text("{}")
    assert run("grid", *pair_folders, "-o", tmp_path / "grid").exit_code == 3
    assert not (tmp_path / "grid").exists()
