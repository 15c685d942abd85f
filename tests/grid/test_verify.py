"""Every byte of a grid against its grid.json."""

import os
import shutil
from pathlib import Path

import pytest

from dami_merge.errors import GridUnreadable
from dami_merge.grid.verify import Verification, verify


@pytest.fixture
def grid(grid_copy: Path) -> Path:
    return grid_copy


def test_a_finished_grid_is_whole_and_every_byte_was_read(grid: Path) -> None:
    counted: list[tuple[int, int]] = []
    verdict = verify(grid, on_bytes=lambda done, total: counted.append((done, total)))
    files = [path for path in grid.glob("lambda-*/**/*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    assert verdict == Verification((), (), (), len(files), size)
    assert verdict.whole
    assert counted == sorted(counted)
    assert counted[-1] == (size, size)
    assert {total for _, total in counted} == {size}


def test_a_grid_that_was_copied_without_its_state_is_whole(grid: Path, tmp_path: Path) -> None:
    shutil.copytree(grid, tmp_path / "bare", ignore=shutil.ignore_patterns(".dami-merge"))
    assert verify(tmp_path / "bare").whole


@pytest.mark.parametrize("position", [0, 8, -512, -1])
def test_one_changed_bit_is_found_although_size_and_time_are_kept(position: int, grid: Path) -> None:
    path = grid / "lambda-0.30" / "model.safetensors"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=times)
    verdict = verify(grid)
    assert verdict.changed == ("lambda-0.30/model.safetensors",)
    assert not verdict.whole


def test_a_file_of_another_size_is_found_without_being_read(grid: Path) -> None:
    whole = verify(grid).read_bytes
    path = grid / "lambda-1.00" / "model.safetensors"
    size = path.stat().st_size
    os.truncate(path, size - 1)
    verdict = verify(grid)
    assert verdict.changed == ("lambda-1.00/model.safetensors",)
    assert verdict.read_bytes == whole - size


def test_missing_and_extra_files_are_told_apart(grid: Path) -> None:
    (grid / "lambda-0.00" / "tokenizer.json").rename(grid / "lambda-0.00" / "tokenizer.old")
    (grid / "stray").mkdir()
    (grid / "stray" / "note.txt").write_text("x")
    (grid / "lambda-1.00" / "dangling").symlink_to("nowhere")
    verdict = verify(grid)
    assert verdict.missing == ("lambda-0.00/tokenizer.json",)
    assert verdict.changed == ()
    assert verdict.extra == ("lambda-0.00/tokenizer.old", "lambda-1.00/dangling", "stray/note.txt")


def test_a_whole_checkpoint_that_is_gone_is_missing_file_by_file(grid: Path) -> None:
    names = sorted(f"lambda-0.30/{path.name}" for path in (grid / "lambda-0.30").iterdir())
    shutil.rmtree(grid / "lambda-0.30")
    assert list(verify(grid).missing) == names


def test_an_unfinished_grid_is_not_whole(grid: Path) -> None:
    (grid / "grid.json").unlink()
    verdict = verify(grid)
    assert verdict.missing == ("grid.json",)
    assert not verdict.whole


def test_a_folder_without_a_grid_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(GridUnreadable, match=r"grid\.json: No such file") as caught:
        verify(tmp_path)
    assert "dami-merge grid" in caught.value.hint
