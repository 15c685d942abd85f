"""What may be continued in a folder: the same contents under other times and names, and more λ."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from dami_merge.errors import DamiMergeError, InputRefused, OutputRefused
from dami_merge.grid import contents
from dami_merge.grid.admission import refuse_folder
from dami_merge.grid.build import BuildProgress, Built, build_grid
from dami_merge.grid.plan import GridPlan
from dami_merge.grid.verify import verify
from tests.checkpoints import near, random_tensors, write_checkpoint, write_json
from tests.grid.grids import THREE, plan_of, tree

FOUR = (Fraction(0), Fraction(3, 10), Fraction(1, 2), Fraction(1))
NAMES = tuple(random_tensors(seed=0))
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

Folders = tuple[Path, Path]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    tensors = random_tensors(seed=0)
    shards = [NAMES[:4], NAMES[4:]]
    return (
        write_checkpoint(tmp_path / "toy-instruct", tensors, shards=shards),
        write_checkpoint(tmp_path / "toy-thinking", near(tensors), shards=[NAMES[3:], NAMES[:3]]),
    )


@pytest.fixture
def grid(folders: Folders, tmp_path: Path) -> Path:
    """A finished grid of three λ."""
    return build_grid(plan_of(folders, tmp_path / "grid", lambdas=THREE)).path


def files(folders: Folders) -> list[Path]:
    return [path for folder in folders for path in folder.iterdir()]


def touched(folders: Folders) -> Folders:
    for path in files(folders):
        os.utime(path, (1, 1))
    return folders


def copied_without_times(folders: Folders) -> Folders:
    copies = [folder.parent / "elsewhere" / folder.name for folder in folders]
    for folder, copy in zip(folders, copies, strict=True):
        shutil.copytree(folder, copy, copy_function=shutil.copyfile)
        shutil.rmtree(folder)
    return copies[0], copies[1]


def linked(folders: Folders) -> Folders:
    links = [folder.parent / "links" / folder.name for folder in copied_without_times(folders)]
    links[0].parent.mkdir()
    for folder, link in zip(folders, links, strict=True):
        link.symlink_to(folder.parent / "elsewhere" / folder.name)
    return links[0], links[1]


def renamed(folders: Folders) -> Folders:
    return folders[0].rename(folders[0].with_name("toy-a")), folders[1].rename(folders[1].with_name("toy-b"))


def unpacked_again(folders: Folders) -> Folders:
    """New files of the same contents, as a package manager installs them."""
    for path in files(folders):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return folders


@pytest.mark.parametrize("change", [touched, copied_without_times, linked, renamed, unpacked_again])
def test_sources_of_the_same_contents_are_the_same_sources(
    change: Callable[[Folders], Folders], folders: Folders, grid: Path, tmp_path: Path
) -> None:
    folders = change(folders)
    plan = plan_of(folders, grid, lambdas=THREE)
    refuse_folder(plan, fresh=False)
    assert build_grid(plan).made == ()
    assert tree(grid) == tree(build_grid(plan_of(folders, tmp_path / "new", lambdas=THREE)).path)
    assert verify(grid).whole


def test_contents_are_compared_once_and_their_bytes_are_counted(folders: Folders, grid: Path) -> None:
    plan = plan_of(touched(folders), grid, lambdas=THREE)
    seen: list[BuildProgress] = []
    build_grid(plan, on_progress=seen.append)
    sides = (plan.pair.instruct, plan.pair.thinking)
    tensor_bytes = sum(info.size_bytes for side in sides for _, info in side.tensors().values())
    assert {progress.shard for progress in seen} == {FIRST, SECOND}
    assert [progress.done_bytes for progress in seen] == sorted(progress.done_bytes for progress in seen)
    assert seen[-1].done_bytes == seen[-1].total_bytes == tensor_bytes
    seen.clear()
    build_grid(plan, on_progress=seen.append)
    assert seen == []


@pytest.mark.parametrize("chunk_bytes", [2, 30, 256])
def test_tensors_larger_than_the_buffer_are_compared_piece_by_piece(
    chunk_bytes: int, folders: Folders, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "CHUNK_BYTES", chunk_bytes)
    assert build(touched(folders), grid).made == ()
    path = folders[1] / FIRST
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(OutputRefused, match="another source"):
        build(folders, grid)


def test_only_the_side_whose_times_changed_is_read(folders: Folders, grid: Path) -> None:
    for path in folders[1].iterdir():
        os.utime(path, (1, 1))
    plan = plan_of(folders, grid, lambdas=THREE)
    seen: list[BuildProgress] = []
    build_grid(plan, on_progress=seen.append)
    assert seen[-1].total_bytes == sum(info.size_bytes for _, info in plan.pair.thinking.tensors().values())


@pytest.mark.parametrize("position", [-1, -200])
def test_other_weights_behind_the_same_headers_are_refused_and_the_grid_stays(
    position: int, folders: Folders, grid: Path
) -> None:
    before = tree(grid)
    path = folders[1] / FIRST
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        OutputRefused, match=rf"made from another source: the tensors of {SECOND} in thinking"
    ) as error:
        build_grid(plan_of(folders, grid, lambdas=THREE))
    assert "--fresh" in error.value.hint
    assert tree(grid) == before
    assert verify(grid).whole


def test_swapped_sides_are_another_source(folders: Folders, grid: Path) -> None:
    with pytest.raises(OutputRefused, match=r"another recipe or source|another source"):
        build_grid(plan_of((folders[1], folders[0]), grid, lambdas=THREE))


def stop_in(shard: str) -> Callable[[BuildProgress], None]:
    def stop(progress: BuildProgress) -> None:
        if progress.shard == shard:
            raise KeyboardInterrupt

    return stop


def test_an_unfinished_run_is_resumed_after_touch_and_after_other_weights_that_it_had_not_read(
    folders: Folders, tmp_path: Path
) -> None:
    """Thinking's second file holds only tensors of the first shard, which is finished."""
    plan = plan_of(folders, tmp_path / "grid", lambdas=THREE)
    with pytest.raises(KeyboardInterrupt):
        build_grid(plan, on_progress=stop_in(SECOND))
    touched(folders)
    path = folders[1] / FIRST
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = plan_of(folders, tmp_path / "grid", lambdas=THREE)
    assert build_grid(again).made == (SECOND,)
    assert tree(tmp_path / "grid") == tree(build_grid(plan_of(folders, tmp_path / "new", lambdas=THREE)).path)


def test_another_layout_of_the_weights_is_refused_with_the_file(folders: Folders, grid: Path) -> None:
    tensors = near(random_tensors(seed=0))
    shutil.rmtree(folders[1])
    write_checkpoint(folders[1], tensors)
    with pytest.raises(
        OutputRefused, match=r"thinking\.weights\..* was .* \(the weights are laid out differ"
    ):
        build(folders, grid)


def test_another_name_or_donor_says_what_it_changes_and_how_to_keep_it(folders: Folders, grid: Path) -> None:
    for field, consequence, keep in (
        ("name", "that changes the served model names and the model cards, but no weights", "--name toy, "),
        (
            "donor",
            "that changes the tokenizer, chat template and config of the checkpoints, but no weights",
            "",
        ),
        ("dtype", "that changes every weight", ""),
    ):
        value: Any = {"name": "mine", "donor": "thinking", "dtype": "float32"}[field]
        with pytest.raises(OutputRefused, match=rf'{field} was .*, is "{value}" \({consequence}\)') as error:
            build_grid(plan_of(folders, grid, lambdas=THREE, **{field: value}))
        assert f"{keep}choose another folder with -o, or start over" in error.value.hint
    assert verify(grid).whole


def test_a_renamed_source_that_would_rename_the_models_says_so(folders: Folders, grid: Path) -> None:
    moved = folders[0].rename(folders[0].with_name("other"))
    with pytest.raises(OutputRefused, match='name was "toy", is "merge"') as error:
        build_grid(plan_of((moved, folders[1]), grid, lambdas=THREE))
    assert error.value.hint.startswith("keep this grid with --name toy, ")
    assert build_grid(plan_of((moved, folders[1]), grid, lambdas=THREE, name="toy")).made == ()


def test_a_lambda_that_is_dropped_is_named_with_the_way_to_keep_it(folders: Folders, grid: Path) -> None:
    with pytest.raises(OutputRefused, match=r"\(that drops λ = 0\.30\)") as error:
        build_grid(plan_of(folders, grid, lambdas=(Fraction(0), Fraction(1, 2), Fraction(1))))
    assert error.value.hint.startswith("keep this grid with --lambdas 0,3/10,1/2,1, choose another folder")


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 100_000, '{"lambdas": ["1/0"]}', '{"lambdas": [0.5]}', '{"lambdas": "1/2"}']
)
def test_a_damaged_identity_is_refused_with_a_way_out(content: str, folders: Folders, grid: Path) -> None:
    (grid / ".dami-merge" / "identity.json").write_text(content)
    with pytest.raises(OutputRefused, match=r"identity\.json is damaged") as error:
        build_grid(plan_of(folders, grid, lambdas=THREE))
    assert "--fresh" in error.value.hint


def inodes(grid: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(grid).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in grid.glob("lambda-*/*")
    }


def test_one_more_lambda_is_built_alone_and_the_grid_equals_one_built_at_once(
    folders: Folders, grid: Path, tmp_path: Path
) -> None:
    old, whole = inodes(grid), tree(grid)
    seen: list[BuildProgress] = []

    def look(progress: BuildProgress) -> None:
        seen.append(progress)
        assert tree(grid).items() >= whole.items(), "the finished grid stays usable meanwhile"

    plan = plan_of(folders, grid, lambdas=FOUR)
    refuse_folder(plan, fresh=False)
    built = build_grid(plan, on_progress=look)
    assert built.made == (FIRST, SECOND)
    assert built.written_bytes == plan.checkpoint_bytes
    assert seen[0].resumed_bytes == seen[0].done_bytes == plan.checkpoint_bytes * 3
    assert seen[-1].done_bytes == seen[-1].total_bytes == plan.checkpoint_bytes * 4
    assert tree(grid) == tree(build_grid(plan_of(folders, tmp_path / "new", lambdas=FOUR)).path)
    assert inodes(grid).items() >= old.items(), "no file of the other λ was written again"
    assert build_grid(plan).made == ()


def test_lambdas_may_be_added_to_an_unfinished_grid(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_grid(plan_of(folders, tmp_path / "grid", lambdas=THREE), on_progress=stop_in(SECOND))
    plan = plan_of(folders, tmp_path / "grid", lambdas=FOUR)
    built = build_grid(plan)
    assert built.made == (FIRST, SECOND)
    assert built.written_bytes == plan.shards[0].size_bytes + plan.shards[1].size_bytes * 4
    assert tree(tmp_path / "grid") == tree(build_grid(plan_of(folders, tmp_path / "new", lambdas=FOUR)).path)


@pytest.mark.slow
def test_adding_a_lambda_killed_at_any_step_leaves_a_valid_grid_and_is_resumed(
    folders: Folders, grid: Path, tmp_path: Path
) -> None:
    names, lambdas = [str(folder) for folder in folders], [str(lam) for lam in FOUR]

    def run(jobs: list[dict[str, object]]) -> list[list[int]]:
        command = [sys.executable, "-m", "tests.grid.killed"]
        done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, check=True)
        outcomes: list[list[int]] = json.loads(done.stdout)
        return outcomes

    def job(output: Path, die_at: int) -> dict[str, object]:
        shutil.copytree(grid, output)
        return {"folders": names, "output": str(output), "lambdas": lambdas, "die_at": die_at}

    ((code, steps),) = run([job(tmp_path / "counted", 0)])
    whole = tree(tmp_path / "counted")
    assert (code, steps > 15) == (0, True)
    places = {step: tmp_path / f"killed-{step}" for step in range(1, steps + 1)}
    assert {code for code, _ in run([job(path, step) for step, path in places.items()])} == {-9}
    for step, place in places.items():
        found = verify(place)
        assert (found.missing, found.changed) == ((), ()), f"killed at step {step} of {steps}"
        build_grid(plan_of(folders, place, lambdas=FOUR))
        assert tree(place) == whole, f"killed at step {step} of {steps}"


def test_a_lambda_of_other_weights_with_the_old_times_is_refused_and_the_grid_stays(
    folders: Folders, grid: Path
) -> None:
    before = tree(grid)
    path = folders[0] / SECOND
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=times)
    with pytest.raises(OutputRefused, match=rf"another source: the tensors of {SECOND} in instruct"):
        build_grid(plan_of(folders, grid, lambdas=FOUR))
    left = {path.name for path in grid.iterdir()}
    assert left == {
        ".dami-merge",
        "grid.json",
        "lambda-0.00",
        "lambda-0.30",
        "lambda-0.50.partial",
        "lambda-1.00",
    }
    assert tree(grid).items() >= before.items()


def broken(folders: Folders) -> None:
    tensors = near(random_tensors(seed=0))
    tensors[NAMES[0]][0, 0] = torch.nan
    shutil.rmtree(folders[1])
    write_checkpoint(folders[1], tensors)


def test_a_refused_grid_leaves_no_folder_that_was_not_there(folders: Folders, tmp_path: Path) -> None:
    """NaN is found in the first shard, after the files of its checkpoints were begun."""
    broken(folders)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputRefused, match="nan"):
        build_grid(plan_of(folders, tmp_path / "a" / "b" / "grid", lambdas=THREE))
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "a").mkdir()
    with pytest.raises(InputRefused, match="nan"):
        build_grid(plan_of(folders, tmp_path / "a" / "b" / "grid", lambdas=THREE))
    assert list((tmp_path / "a").iterdir()) == []


def test_a_run_that_is_interrupted_before_its_first_shard_leaves_nothing(
    folders: Folders, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_grid(plan_of(folders, tmp_path / "grid", lambdas=THREE), on_progress=stop_in(FIRST))
    assert not (tmp_path / "grid").exists()


def test_an_added_lambda_that_is_interrupted_before_its_first_shard_leaves_the_grid_as_it_was(
    folders: Folders, grid: Path
) -> None:
    before = {path: path.read_bytes() for path in grid.rglob("*") if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        build_grid(plan_of(folders, grid, lambdas=FOUR), on_progress=stop_in(FIRST))
    assert {path: path.read_bytes() for path in grid.rglob("*") if path.is_file()} == before
    assert build_grid(plan_of(folders, grid, lambdas=THREE)).made == ()


def test_a_fresh_start_that_the_disk_cannot_hold_keeps_the_earlier_grid(
    folders: Folders, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 0

    before = tree(grid)
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DamiMergeError, match="more, but its disk has only 0 B free"):
        build_grid(plan_of(folders, grid, lambdas=[Fraction(n, 20) for n in range(21)]), fresh=True)
    assert tree(grid) == before


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """For root, whom permissions do not stop, a read-only file system; for others, permissions."""
    if os.geteuid():
        paths = [folder, *folder.rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return
    for flags in (["--bind"], ["-o", "remount,bind,ro"]):
        done = subprocess.run(
            ["mount", *flags, str(folder), str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"may not mount here: {done.stderr.strip()}")
    yield
    subprocess.run(["umount", str(folder)], check=True)


def build(folders: Folders, grid: Path, **fields: Any) -> Built:
    plan: GridPlan = plan_of(folders, grid, **{"lambdas": THREE, **fields})
    return build_grid(plan)


def test_a_whole_grid_that_cannot_be_written_is_reported_whole(folders: Folders, grid: Path) -> None:
    made = build(folders, grid)
    with read_only(grid):
        assert build(folders, grid).grid == made.grid
        assert build(touched(folders), grid).made == ()


def lose_a_small_file(grid: Path) -> None:
    (grid / "lambda-0.30" / "config.json").unlink()


def edit_a_small_file(grid: Path) -> None:
    write_json(grid / "lambda-0.30" / "config.json", {})


def lose_a_shard(grid: Path) -> None:
    (grid / "lambda-0.30" / FIRST).unlink()


def lose_the_list(grid: Path) -> None:
    (grid / "grid.json").unlink()


def lose_a_receipt(grid: Path) -> None:
    (grid / ".dami-merge" / "receipts" / f"{FIRST}.json").unlink()


@pytest.mark.parametrize(
    "damage", [lose_a_small_file, edit_a_small_file, lose_a_shard, lose_the_list, lose_a_receipt]
)
def test_a_damaged_grid_that_cannot_be_written_is_refused_with_a_way_out(
    damage: Callable[[Path], None], folders: Folders, grid: Path
) -> None:
    damage(grid)
    with read_only(grid), pytest.raises(OutputRefused, match="cannot be written, and does not hold") as error:
        build(folders, grid)
    assert "choose another folder with -o" in error.value.hint


def test_another_grid_in_a_folder_that_cannot_be_written_is_refused(folders: Folders, grid: Path) -> None:
    with read_only(grid):
        with pytest.raises(OutputRefused, match="another recipe"):
            build(folders, grid, donor="instruct")
        with pytest.raises(OutputRefused, match="cannot be written, and does not hold the whole grid"):
            build(folders, grid, lambdas=FOUR)
