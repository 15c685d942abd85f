"""Every byte of a grid against its grid.json."""

import os
import shutil
import socket
from collections.abc import Callable
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


def test_the_count_of_files_is_of_those_that_were_found(grid: Path) -> None:
    whole = verify(grid).files
    (grid / "lambda-0.00" / "tokenizer.json").unlink()
    assert verify(grid).files == whole - 1


MEMBER, SHARD = "lambda-0.30", "lambda-0.30/model.safetensors"


@pytest.mark.parametrize("place", ["stray", f"{MEMBER}/stray", f"{MEMBER}/deep/er/stray"])
@pytest.mark.parametrize("target", ["/etc", "..", "nowhere", "/etc/hostname"])
def test_a_link_is_extra_wherever_it_leads_and_is_not_followed(place: str, target: str, grid: Path) -> None:
    (grid / place).parent.mkdir(parents=True, exist_ok=True)
    (grid / place).symlink_to(target)
    assert verify(grid).extra == (place,)


def test_a_pipe_a_socket_and_an_empty_folder_are_extra_and_nothing_waits(grid: Path) -> None:
    os.mkfifo(grid / MEMBER / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(grid)  # a socket's path must be short
        server.bind("socket")
        os.chdir(here)
    (grid / MEMBER / "empty" / "er").mkdir(parents=True)
    assert verify(grid).extra == (f"{MEMBER}/empty/er", f"{MEMBER}/pipe", "socket")


def by_a_pipe(path: Path) -> None:
    os.mkfifo(path)


def by_a_link_to_the_same_bytes(path: Path) -> None:
    path.symlink_to(path.with_name("kept"))


def by_a_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def by_a_folder(path: Path) -> None:
    path.mkdir()


def by_a_filled_folder(path: Path) -> None:
    path.mkdir()
    (path / "x").write_text("x")


@pytest.mark.parametrize(
    "replace", [by_a_pipe, by_a_link_to_the_same_bytes, by_a_broken_link, by_a_folder, by_a_filled_folder]
)
def test_whatever_is_in_place_of_a_file_is_changed_not_read(
    replace: Callable[[Path], None], grid: Path
) -> None:
    (grid / SHARD).rename(grid / MEMBER / "kept")
    replace(grid / SHARD)
    verdict = verify(grid)
    assert verdict.changed == (SHARD,)
    assert verdict.missing == ()
    assert f"{MEMBER}/kept" in verdict.extra


def test_a_checkpoint_that_is_a_link_to_its_files_elsewhere_is_changed(grid: Path, tmp_path: Path) -> None:
    names = sorted(f"{MEMBER}/{path.name}" for path in (grid / MEMBER).iterdir())
    (grid / MEMBER).rename(tmp_path / "elsewhere")
    (grid / MEMBER).symlink_to(tmp_path / "elsewhere")
    verdict = verify(grid)
    assert (list(verdict.changed), verdict.extra) == (names, (MEMBER,))


def test_the_folder_of_the_grid_itself_may_be_a_link(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(grid)
    assert verify(tmp_path / "link").whole


def test_a_link_in_place_of_the_state_of_the_run_is_extra(grid: Path) -> None:
    shutil.rmtree(grid / ".dami-merge")
    (grid / ".dami-merge").symlink_to("/etc")
    assert verify(grid).extra == (".dami-merge",)


def test_a_list_that_is_a_pipe_or_a_folder_is_unreadable(grid: Path) -> None:
    (grid / "grid.json").unlink()
    os.mkfifo(grid / "grid.json")
    with pytest.raises(GridUnreadable, match=r"grid\.json is not a file"):
        verify(grid)
    (grid / "grid.json").unlink()
    (grid / "grid.json").mkdir()
    with pytest.raises(GridUnreadable, match=r"grid\.json is not a file"):
        verify(grid)
